{#- Tables partitioned by week. A build replaces whole weeks, in one transaction per model.

    This takes the place of dbt-duckdb's own incremental materialization: on a DuckLake table with
    partitions that one makes the first build of three transactions (a killed one leaves an empty
    table), and every later one copies the new rows into a temporary table first (21 million
    promotions). Its strategies delete the weeks that the new rows have; a week that lost all its
    rows would keep the old ones.

    config:
      partition_column   what the table is partitioned by; a Monday
      replaces           'weeks' (default): min_week..max_week. 'onwards': from min_week on, for
                         tables in which a corrected week changes what later weeks hold
      slice_weeks        weeks to insert at a time, inside the one transaction: bounds memory where
                         a year does not fit; each slice costs a quarter of a second
      slices_from        name of the model whose weeks those are
-#}
{% materialization incremental, adapter='duckdb' %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set onwards = config.get('replaces', 'weeks') == 'onwards' -%}
    {%- set rebuild = existing is not none and (should_full_refresh() or not existing.is_table) -%}
    {%- set create = existing is none or rebuild -%}

    {%- if not config.get('contract').enforced -%}
        {%- do exceptions.raise_compiler_error(
            this ~ ": a weekly table needs an enforced contract; set `contract: {enforced: true}`"
        ) -%}
    {%- endif -%}
    {%- if rebuild and not whole_history() -%}
        {%- do exceptions.raise_compiler_error(
            this ~ ": --full-refresh drops every week, so it cannot be limited to some; leave out"
            ~ " the vars min_week and max_week"
        ) -%}
    {%- endif -%}
    {%- do get_assert_columns_equivalent(sql) -%}
    {%- set added = [] if create else columns_to_add(existing) -%}
    {%- set slices = week_slices() -%}

    {%- if config.get('incremental_strategy') != 'replace_weeks' or config.get('on_schema_change') != 'append_new_columns' -%}
        {%- do exceptions.raise_compiler_error(
            this ~ ": incremental_strategy must be replace_weeks and on_schema_change"
            ~ " append_new_columns; nothing else is built here"
        ) -%}
    {%- endif -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- if create -%}
        {%- call statement('create_table') -%}
            {%- if rebuild %} drop {{ existing.type }} {{ existing }}; {% endif %}
            create table {{ target_relation }} {{ get_table_columns_and_constraints() }};
            alter table {{ target_relation }} set partitioned by ({{ config.require('partition_column') }});
        {%- endcall -%}
    {%- endif -%}
    {%- for column in added -%}
        {%- call statement('add_column') -%}
            alter table {{ target_relation }} add column {{ adapter.quote(column.name) }} {{ column.data_type }}
        {%- endcall -%}
    {%- endfor -%}

    {%- do replace_weeks(target_relation, slices, onwards, delete_first=not create) -%}

    {%- if create or added -%}
        {%- do persist_docs(target_relation, model) -%}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {%- do log_column_metadata() -%}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{#- Deletes the weeks of the build, then inserts the model's rows. The delete goes by the weeks
    asked for, not by the weeks of the new rows: a week whose rows are all gone must end up empty. -#}
{% macro replace_weeks(target_relation, slices, onwards, delete_first) %}
    {%- set names = get_quoted_csv(model['columns'].values() | map(attribute='name')) -%}
    {%- if delete_first -%}
        {%- call statement('delete_weeks') -%}
            delete from {{ target_relation }}
            where {{ in_weeks(config.require('partition_column'), onwards=onwards) }}
        {%- endcall -%}
    {%- endif -%}
    {%- for slice in slices -%}
        {%- call statement('main' if loop.last else 'slice') -%}
            insert into {{ target_relation }} ({{ names }})
            select {{ names }} from (
                {{ sql }}
            ) as model_rows
            where {{ slice }}
        {%- endcall -%}
    {%- endfor -%}
{% endmacro %}


{% macro week_slices() %}
    {%- set source = config.get('slices_from') -%}
    {%- if not source -%}{{ return(['true']) }}{%- endif -%}
    {%- set weeks = run_query(
        'select distinct week_start::varchar from ' ~ ref(source) ~ ' where ' ~ in_weeks() ~ ' order by 1'
    ).columns[0].values() -%}
    {%- set slices = [] -%}
    {%- for some in weeks | batch(config.require('slice_weeks')) -%}
        {%- do slices.append(
            config.require('partition_column') ~ " between date '" ~ (some | first) ~ "' and date '" ~ (some | last) ~ "'"
        ) -%}
    {%- endfor -%}
    {{ return(slices or ['false']) }}
{% endmacro %}


{#- Columns that the contract has and the table lacks. A new nullable column is added in place; any
    other difference is breaking and is refused. -#}
{% macro columns_to_add(existing) %}
    {%- set stored = {} -%}
    {%- for column in adapter.get_columns_in_relation(existing) -%}
        {%- do stored.update({column.name | lower: column.dtype | lower}) -%}
    {%- endfor -%}
    {%- set added, breaking = [], [] -%}
    {%- for column in model['columns'].values() -%}
        {%- set required = column.constraints | selectattr('type', 'equalto', 'not_null') | list -%}
        {%- set found = stored.pop(column.name | lower, none) -%}
        {%- if found is none and required -%}
            {%- do breaking.append(column.name ~ ' is new and not nullable') -%}
        {%- elif found is none -%}
            {%- do added.append(column) -%}
        {%- elif found != column.data_type | lower -%}
            {%- do breaking.append(column.name ~ ' is ' ~ found ~ ' in the lake, ' ~ column.data_type ~ ' in the contract') -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for name in stored -%}
        {%- do breaking.append(name ~ ' is in the lake but not in the contract') -%}
    {%- endfor -%}
    {%- if breaking -%}
        {%- do exceptions.raise_compiler_error(
            'breaking schema change of ' ~ existing ~ ': ' ~ breaking | join('; ')
            ~ '. Raise the version of its contract and rebuild every week with --full-refresh'
        ) -%}
    {%- endif -%}
    {{ return(added) }}
{% endmacro %}

{#- dbt's own view materialization replaces every view by three renames on every run; in DuckLake
    each is a new snapshot. This one writes only when the SQL or the description changed: the
    view's comment carries a fingerprint of both. -#}
{% materialization view, adapter='duckdb' %}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- set fingerprint = local_md5(sql ~ model.description) -%}
    {%- set comment = model.description ~ ' [' ~ fingerprint ~ ']' -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if existing is not none and existing.is_view
            and fingerprint in view_comment(target_relation) and not should_full_refresh() -%}
        {%- call noop_statement('main', 'unchanged') -%} {%- endcall -%}
    {%- else -%}
        {%- call statement('main') -%}
            {%- if existing is not none and not existing.is_view %} drop {{ existing.type }} {{ existing }}; {% endif %}
            create or replace view {{ target_relation }}
            {%- if config.get('contract').enforced -%} {{ get_assert_columns_equivalent(sql) }} {%- endif %}
            as (
                {{ sql }}
            );
            comment on view {{ target_relation }} is {{ duckdb_escape_comment(comment) }};
        {%- endcall -%}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}


{% macro view_comment(relation) %}
    {%- set found = run_query(
        "select comment from duckdb_views() where database_name = '" ~ relation.database
        ~ "' and schema_name = '" ~ relation.schema ~ "' and view_name = '" ~ relation.identifier ~ "'"
    ).columns[0].values() -%}
    {{ return((found[0] or '') if found else '') }}
{% endmacro %}

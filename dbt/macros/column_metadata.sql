{#- Tells Dagster the columns of a built model and of its parents, from which it derives column
    lineage. Under the command line there is nobody to tell. dagster-dbt's own
    fetch_column_metadata() opens the profile's database a second time, read-only, which an
    in-memory database refuses. -#}
{% macro log_column_metadata() %}
    {%- if execute and env_var('DAGSTER_DBT_CLI', '') == 'true' -%}
        {%- set parents = {} -%}
        {%- for unique_id in model.depends_on.nodes -%}
            {%- set parent = graph.nodes.get(unique_id) or graph.sources.get(unique_id) -%}
            {%- do parents.update({parent.relation_name: {'columns': column_types(parent.columns)}}) -%}
        {%- endfor -%}
        {%- do log(tojson({'columns': column_types(model.columns), 'parents': parents}), info=true) -%}
    {%- endif -%}
{% endmacro %}


{% macro column_types(columns) %}
    {%- set types = {} -%}
    {%- for column in columns.values() -%}
        {%- do types.update({column.name: {'data_type': column.data_type, 'description': column.description}}) -%}
    {%- endfor -%}
    {{ return(types) }}
{% endmacro %}

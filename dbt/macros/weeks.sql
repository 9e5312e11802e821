{#- The weeks a build replaces: `min_week` and `max_week`, both Mondays, both included; without
    them the whole history. They come as vars, or as LIFTGRAPH_DBT_MIN_WEEK and _MAX_WEEK
    (resources/dbt_guard.py turns the one into the other: dbt parses the whole project again
    whenever vars change). They are read only when a model runs, so that no parse depends on them. -#}

{% macro build_week(name) -%}
    {%- if not execute -%}{{ return(none) }}{%- endif -%}
    {%- set given = var(name, none) or env_var('LIFTGRAPH_DBT_' ~ name | upper, '') -%}
    {%- if not given -%}{{ return(none) }}{%- endif -%}
    {%- set week = modules.datetime.date.fromisoformat(given | string) -%}
    {%- if week.weekday() != 0 -%}
        {%- do exceptions.raise_compiler_error(
            name ~ '=' ~ given ~ ' is not a Monday; weeks are keyed by their Monday, e.g. '
            ~ (week - modules.datetime.timedelta(days=week.weekday()))
        ) -%}
    {%- endif -%}
    {{ return(week | string) }}
{%- endmacro %}

{% macro whole_history() -%}
    {{ return(build_week('min_week') is none and build_week('max_week') is none) }}
{%- endmacro %}

{#- Rows of the weeks to replace. `onwards` reaches past max_week: for tables in which a corrected
    week changes what later weeks hold. -#}
{% macro in_weeks(column='week_start', onwards=false) -%}
    {%- set first = build_week('min_week') -%}
    {%- set last = none if onwards else build_week('max_week') -%}
    {%- if first is not none and last is not none -%}
        {{ column }} between date '{{ first }}' and date '{{ last }}'
    {%- elif first is not none -%}
        {{ column }} >= date '{{ first }}'
    {%- elif last is not none -%}
        {{ column }} <= date '{{ last }}'
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}

{#- Instant at which a week begins in the business time zone, as naive UTC. -#}
{% macro start_of_week(column='week_start') -%}
    timezone('UTC', timezone('{{ business_time_zone() }}', {{ column }}::timestamp))
{%- endmacro %}

{#- Business week (its Monday) of a naive UTC instant. -#}
{% macro business_week(column) -%}
    date_trunc('week', timezone('{{ business_time_zone() }}', timezone('UTC', {{ column }})))::date
{%- endmacro %}

{% macro business_time_zone() -%}
    {{ return(env_var('LIFTGRAPH_DBT_TIME_ZONE', 'America/New_York')) }}
{%- endmacro %}

{#- Scopes every data test to the weeks of this build: `where: __weeks_of_this_build__` in
    dbt_project.yml is replaced when the test runs, not when it is parsed. -#}
{% macro get_where_subquery(relation) -%}
    {%- set where = config.get('where', '') | replace('__weeks_of_this_build__', in_weeks()) -%}
    {%- if where in ('', 'true') -%}
        {%- do return(relation) -%}
    {%- endif -%}
    {%- do return('(select * from ' ~ relation ~ ' where ' ~ where ~ ') dbt_subquery') -%}
{%- endmacro %}

{#- Versions of a row (SCD 2): the rows that state something other than the latest earlier row of
    the same id did, or that state it for the first time. Without attributes: the first statement.

    Reads the whole history before the weeks of the build, as the latest earlier row may be in any
    week, and all after them, as a corrected week can open or close later versions.

    Args: relation with `week_start`; ids and attributes are lists of column names. -#}
{% macro versions(relation, ids, attributes) -%}
with stated as (

    select * from {{ relation }}

),

compared as (

    select
        *,
        row_number() over (partition by {{ ids | join(', ') }} order by week_start) as statement_number
        {%- for attribute in attributes %},
        lag({{ attribute }}) over (partition by {{ ids | join(', ') }} order by week_start) as previous_{{ attribute }}
        {%- endfor %}
    from stated

),

versions as (

    select
        {%- for column in ids + attributes %}
        {{ column }},
        {%- endfor %}
        week_start,
        known_at
    from compared
    where
        (
            statement_number = 1
            {%- for attribute in attributes %}
            or {{ attribute }} is distinct from previous_{{ attribute }}
            {%- endfor %}
        )
        and {{ in_weeks(onwards=true) }}

)

select * from versions
{%- endmacro %}


{#- Versions with the time each was valid: from when it was known until the next one was. -#}
{% macro history(relation, id) -%}
with versions as (

    select * from {{ relation }}

),

history as (

    select
        *,
        known_at as valid_from,
        lead(known_at) over (partition by {{ id }} order by week_start) as valid_to,
        lead(known_at) over (partition by {{ id }} order by week_start) is null as is_current
    from versions

)

select * from history
{%- endmacro %}

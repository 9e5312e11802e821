{#- No two rows agree in all of `columns`. Groups by a hash of them first, which for 21 million rows
    takes a fraction of the time and memory, and compares the columns themselves only where hashes
    collide. -#}
{% test unique_rows(model, columns) %}
{%- set names = columns | join(', ') %}
with rows_of_build as (

    select {{ names }}, hash({{ names }}) as fingerprint from {{ model }}

),

suspects as (

    select fingerprint from rows_of_build group by fingerprint having count(*) > 1

)

select {{ names }}, count(*) as times
from rows_of_build
where fingerprint in (select fingerprint from suspects)
group by {{ names }}
having count(*) > 1
{% endtest %}

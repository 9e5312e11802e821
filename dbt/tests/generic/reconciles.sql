{#- Totals of `mine` here and of `theirs` in `to` agree week by week, to a cent. -#}
{% test reconciles(model, mine, to, theirs) %}
with here as (

    select week_start, {{ mine }} as total from {{ model }} group by week_start

),

there as (

    select week_start, {{ theirs }} as total from {{ get_where_subquery(to) }} group by week_start

)

select
    week_start,
    here.total as here,
    there.total as there
from here
full join there using (week_start)
where abs(coalesce(here.total, 0) - coalesce(there.total, 0)) >= 0.005
{% endtest %}

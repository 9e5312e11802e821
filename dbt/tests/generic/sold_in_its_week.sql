{#- The business week of `column` is the row's week. -#}
{% test sold_in_its_week(model, column_name) %}
select {{ column_name }}, week_start
from {{ model }}
where {{ business_week(column_name) }} is distinct from week_start
{% endtest %}

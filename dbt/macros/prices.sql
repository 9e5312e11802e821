{#- Discounts are positive numbers, and sales_value is what the retailer received: after the
    loyalty-card discount and after its own match of a coupon, but with what the manufacturer pays
    for the coupon. -#}

{#- What the line would have cost without any discount. -#}
{% macro regular_value(prefix='') -%}
    ({{ prefix }}sales_value + {{ prefix }}retail_disc + {{ prefix }}coupon_match_disc)
{%- endmacro %}

{#- What the line costs every card holder, before coupons. -#}
{% macro loyalty_value(prefix='') -%}
    ({{ prefix }}sales_value + {{ prefix }}coupon_match_disc)
{%- endmacro %}

{#- Sum of money that does not depend on the order of the rows: sums of doubles differ in the last
    bit from run to run, and the same week must come out the same. -#}
{% macro exact_sum(column) -%}
    sum({{ column }}::decimal(18, 4))::double
{%- endmacro %}

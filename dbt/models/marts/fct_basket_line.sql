with lines as (

    select * from {{ ref('stg_basket_lines') }}
    where {{ in_weeks() }}

),

priced as (

    select
        household_id,
        store_id,
        basket_id,
        product_id,
        quantity,
        sales_value,
        retail_disc,
        coupon_disc,
        coupon_match_disc,
        case when quantity > 0 then {{ regular_value() }} / quantity end as regular_price,
        case when quantity > 0 then {{ loyalty_value() }} / quantity end as loyalty_price,
        sold_at,
        week_start,
        known_at
    from lines

)

select * from priced

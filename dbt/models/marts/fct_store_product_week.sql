{{ config(slices_from='fct_basket_line', slice_weeks=8) }}

with lines as (

    select * from {{ ref('fct_basket_line') }}
    where {{ in_weeks() }}

),

promotions as (

    select * from {{ ref('fct_promotion') }}
    where {{ in_weeks() }}

),

reporting_stores as (

    select distinct store_id, week_start from promotions

),

sold as (

    select
        store_id,
        product_id,
        week_start,
        sum(quantity)::bigint as units,
        {{ exact_sum('sales_value') }} as revenue,
        {{ exact_sum(regular_value()) }} as regular_value,
        {{ exact_sum(loyalty_value()) }} as loyalty_value,
        {{ exact_sum('coupon_disc + coupon_match_disc') }} as coupon_value,
        count(distinct basket_id) as baskets,
        count(distinct household_id) as households,
        max(known_at) as known_at
    from lines
    group by store_id, product_id, week_start

),

joined as (

    select
        sold.store_id,
        sold.product_id,
        sold.units,
        sold.revenue,
        sold.baskets,
        sold.households,
        case when sold.units > 0 then sold.revenue / sold.units end as price,
        case when sold.units > 0 then sold.regular_value / sold.units end as regular_price,
        case when sold.units > 0 then sold.loyalty_value / sold.units end as loyalty_price,
        case when sold.regular_value > 0 then 1 - sold.loyalty_value / sold.regular_value end as discount_depth,
        case when sold.regular_value > 0 then sold.coupon_value / sold.regular_value end as coupon_depth,
        coalesce(promotions.display, '0') as display,
        coalesce(promotions.mailer, '0') as mailer,
        coalesce(promotions.on_display, false) as on_display,
        coalesce(promotions.in_mailer, false) as in_mailer,
        reporting_stores.store_id is not null as promotions_reported,
        sold.week_start,
        sold.known_at
    from sold
    left join promotions
        on
            sold.store_id = promotions.store_id
            and sold.product_id = promotions.product_id
            and sold.week_start = promotions.week_start
    left join reporting_stores
        on
            sold.store_id = reporting_stores.store_id
            and sold.week_start = reporting_stores.week_start

)

select * from joined

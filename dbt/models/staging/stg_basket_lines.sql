with source as (

    select * from {{ source('raw', 'basket_lines') }}

),

renamed as (

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
        sold_at,
        week_start,
        known_at
    from source

)

select * from renamed

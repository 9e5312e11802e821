with source as (

    select * from {{ source('raw', 'coupons') }}

),

renamed as (

    select
        coupon_id,
        product_id,
        campaign_id,
        week_start,
        known_at
    from source

)

select * from renamed

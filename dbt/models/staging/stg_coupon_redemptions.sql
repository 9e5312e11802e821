with source as (

    select * from {{ source('raw', 'coupon_redemptions') }}

),

renamed as (

    select
        household_id,
        coupon_id,
        campaign_id,
        redeemed_on,
        week_start,
        known_at
    from source

)

select * from renamed

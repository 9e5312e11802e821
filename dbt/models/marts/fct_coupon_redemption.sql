with redemptions as (

    select * from {{ ref('stg_coupon_redemptions') }}
    where {{ in_weeks() }}

)

select * from redemptions

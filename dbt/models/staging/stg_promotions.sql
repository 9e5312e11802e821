with source as (

    select * from {{ source('raw', 'promotions') }}

),

renamed as (

    select
        product_id,
        store_id,
        display,
        mailer,
        week_start,
        known_at
    from source

)

select * from renamed

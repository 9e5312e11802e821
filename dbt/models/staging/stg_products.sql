with source as (

    select * from {{ source('raw', 'products') }}

),

renamed as (

    select
        product_id,
        manufacturer_id,
        department,
        brand,
        category,
        type,
        size,
        week_start,
        known_at
    from source

)

select * from renamed

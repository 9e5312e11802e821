with source as (

    select * from {{ source('raw', 'stores') }}

),

renamed as (

    select
        store_id,
        channel,
        region,
        week_start,
        known_at
    from source

)

select * from renamed

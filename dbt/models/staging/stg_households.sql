with source as (

    select * from {{ source('raw', 'households') }}

),

renamed as (

    select
        household_id,
        age,
        income,
        home_ownership,
        marital_status,
        size,
        composition,
        kids,
        week_start,
        known_at
    from source

)

select * from renamed

{{ config(replaces='onwards') }}

{{ versions(ref('stg_households'), ids=['household_id'], attributes=['age', 'income', 'home_ownership', 'marital_status', 'size', 'composition', 'kids']) }}

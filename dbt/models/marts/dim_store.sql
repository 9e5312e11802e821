{{ config(replaces='onwards') }}

{{ versions(ref('stg_stores'), ids=['store_id'], attributes=['channel', 'region']) }}

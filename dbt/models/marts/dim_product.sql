{{ config(replaces='onwards') }}

{{ versions(ref('stg_products'), ids=['product_id'], attributes=['manufacturer_id', 'department', 'brand', 'category', 'type', 'size']) }}

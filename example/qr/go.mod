module example.com/qr

go 1.24.0

require github.com/boombuler/barcode v1.1.0

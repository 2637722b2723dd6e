"""What a server sees of the photos in service: counted, and kept with what people say of them."""

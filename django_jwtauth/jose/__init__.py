"""The standards: base64url, strict JSON, keys and JWK Sets. Neither settings nor the database are
read here."""

//! See [`espwire_fuzz::decapsulate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| espwire_fuzz::decapsulate::run(octets));

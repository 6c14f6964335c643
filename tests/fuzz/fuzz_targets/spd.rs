//! See [`espwire_fuzz::spd`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| espwire_fuzz::spd::run(octets));

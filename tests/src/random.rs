//! A small generator of reproducible pseudo-random numbers (splitmix64).

/// Numbers that depend on the seed alone.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// A place in something of this length, which must not be 0.
    pub fn index(&mut self, length: usize) -> usize {
        let place = self.below(u64::try_from(length).expect("a length fits 64 bits"));
        usize::try_from(place).expect("below a usize")
    }

    /// True in `percent` of 100 calls.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The seed of this run: `GODB_TEST_SEED`, or one from the clock. The caller prints it.
pub fn seed() -> u64 {
    match std::env::var("GODB_TEST_SEED") {
        Ok(text) => text.parse().expect("GODB_TEST_SEED is a number"),
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock after 1970")
            .subsec_nanos()
            .into(),
    }
}

//! Changes inputs at random, and always in the same order.

/// Makes inputs of others.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Begins; the seed is not 0.
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Returns a number below `n`; 0 when that is 0. Xorshift, Marsaglia 2003.
    fn below(&mut self, n: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let n = n.max(1) as u64;
        usize::try_from(self.state % n).unwrap_or(0)
    }

    /// Takes one of the inputs and changes it in a few places.
    pub fn change(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(4) {
            let (at, length) = (self.below(input.len() + 1), self.below(16));
            let end = (at + length).min(input.len());
            match self.below(6) {
                0 => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << (length % 8);
                    }
                }
                1 => {
                    const ODD: &[u8] = b"\0\n\r\t\x1b \"#$%'(),-./:;<=>@[\\]{}\x7f\x80\xff";
                    input.insert(at, ODD[self.below(ODD.len())]);
                }
                2 => drop(input.drain(at..end)),
                3 => {
                    let again = input[at..end].to_vec();
                    input.splice(at..at, again);
                }
                4 => {
                    let other = &inputs[self.below(inputs.len())];
                    let from = self.below(other.len() + 1);
                    let piece = other[from..(from + length).min(other.len())].to_vec();
                    input.splice(at..at, piece);
                }
                _ => input.truncate(at),
            }
        }
        input
    }
}

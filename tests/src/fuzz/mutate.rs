//! New inputs from old ones: bits, bytes, words and pieces of others.

use crate::sim::chance::Chance;

/// No input is made longer.
const LONGEST: usize = 4096;

/// An input made of one of `corpus` by a few changes.
pub fn mutated(chance: &mut Chance, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut input = corpus.get(chance.below(corpus.len())).cloned().unwrap_or_default();
    for _ in 0..=chance.below(6) {
        let at = chance.below(input.len() + 1);
        let end = (at + chance.below(16)).min(input.len());
        match chance.below(9) {
            0 | 1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
            2 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = chance.draw().to_le_bytes()[0];
                }
            }
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].to_vec();
                insert(&mut input, at, &piece);
            }
            5 | 6 => {
                let word =
                    words.get(chance.below(words.len())).map(|word| word.as_bytes()).unwrap_or_default();
                insert(&mut input, at, word);
            }
            7 => {
                let other = corpus.get(chance.below(corpus.len())).map(Vec::as_slice).unwrap_or_default();
                let from = chance.below(other.len() + 1);
                let to = (from + chance.below(64)).min(other.len());
                insert(&mut input, at, &other[from..to]);
            }
            _ => input.truncate(at),
        }
    }
    input.truncate(LONGEST);
    input
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let rest = input.split_off(at);
    input.extend_from_slice(piece);
    input.extend_from_slice(&rest);
}

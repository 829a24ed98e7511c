//! Worlds that once broke a rule, each made as small as it would go, and what was wrong. A normal test runs them all again.

/// A line for `replay`, and what it found.
#[cfg(test)]
pub(crate) const KEPT: &[(&str, &str)] = &[
    (
        "--seed 0 --seconds 2139 --agents 8 --absent 0,1,2,3,5,6,7 --skip 0-8",
        "a refresh was turned away with Retry-After, the token died meanwhile, and its rejection logged in at once",
    ),
    (
        "--seed 73 --seconds 7244 --agents 8 --absent 0,1,3,4,5,6,7 --without duplicate --skip 16-24,37-40",
        "a look of the closing instance was turned away with Retry-After, and the one who wanted it asked again at once",
    ),
];

//! Inner loops compiled once per instruction set and chosen at run time (AVX2, AVX-512, NEON), without `unsafe`.

/// Lanes summed side by side; two AVX-512 registers, four AVX2 ones.
const LANES: usize = 32;

/// Runs `body` with the best instruction set of this CPU. Everything it calls must be `#[inline(always)]`.
#[inline]
pub fn dispatch<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// As [`dispatch`]; `body` is told whether the instruction set has fused multiply-add, for [`multiply_add`].
#[inline]
pub fn dispatch_fused<R>(body: impl FnOnce(bool) -> R) -> R {
    match pulp::Arch::new() {
        pulp::Arch::Scalar => body(false),
        arch => arch.dispatch(
            #[inline(always)]
            || body(true),
        ),
    }
}

/// a·b + c, rounded once where that is an instruction of its own; a constant `fused` costs nothing.
#[inline(always)]
pub fn multiply_add(fused: bool, a: f32, b: f32, c: f32) -> f32 {
    if fused { a.mul_add(b, c) } else { a * b + c }
}

/// Σ aᵢ·bᵢ
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [d] = dots(a, [b]);
    d
}

/// Σ aᵢ
#[inline(always)]
pub fn sum(a: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = a.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// The largest of `a`; −∞ when there is none. What is not a number is passed over.
#[inline(always)]
pub fn largest(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = a.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = lanes[lane].max(chunk[lane]);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Σ aᵢ·bᵢ of `a` with each of `b`; `a` is loaded once.
#[inline(always)]
pub fn dots<const K: usize>(a: &[f32], b: [&[f32]; K]) -> [f32; K] {
    let mut lanes = [[0.0_f32; LANES]; K];
    let n = a.len();
    let b = b.map(|b| &b[..n]);
    let whole = n - n % LANES;
    let mut at = 0;
    while at < whole {
        let x: &[f32; LANES] = a[at..at + LANES].try_into().expect("a chunk has LANES elements");
        for k in 0..K {
            let y: &[f32; LANES] = b[k][at..at + LANES].try_into().expect("a chunk has LANES elements");
            for lane in 0..LANES {
                lanes[k][lane] += x[lane] * y[lane];
            }
        }
        at += LANES;
    }
    let mut sums = [0.0; K];
    for k in 0..K {
        let tail: f32 = (whole..n).map(|i| a[i] * b[k][i]).sum();
        sums[k] = lanes[k].iter().sum::<f32>() + tail;
    }
    sums
}

/// `y += Σ factorₖ · xₖ`
#[inline(always)]
pub fn accumulate<const K: usize>(y: &mut [f32], factors: [f32; K], x: [&[f32]; K]) {
    let n = y.len();
    let x = x.map(|x| &x[..n]);
    for i in 0..n {
        let mut sum = y[i];
        for k in 0..K {
            sum += factors[k] * x[k][i];
        }
        y[i] = sum;
    }
}

/// eˣ to 2 ulp for |x| ≤ 87, cut off there; a form compilers turn into vector code.
///
/// Cody–Waite reduction to |r| ≤ ln 2 / 2, then the Taylor series to r⁷/7!, whose remainder is below 3e-9.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    exp_fused(false, x)
}

/// [`exp`] in a body of [`dispatch_fused`].
#[inline(always)]
pub fn exp_fused(fused: bool, x: f32) -> f32 {
    // Adding and subtracting 1.5·2²³ rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with enough zero bits that n·LN2_HIGH is exact (Cody and Waite 1980).
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 87.0);
    let shifted = multiply_add(fused, x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add(fused, -n, LN2_LOW, multiply_add(fused, -n, LN2_HIGH, x));
    let series = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let mut p = series[0];
    for coefficient in &series[1..] {
        p = multiply_add(fused, p, r, *coefficient);
    }
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    p * scale
}

/// ln x to 2 ulp of the larger of |ln x| and 1, for normal x > 0; a form compilers turn into vector code.
///
/// x = m·2ᵉ with m in √½ … √2, then the polynomial of the Cephes library's `logf` (Moshier 1992).
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    const POLYNOMIAL: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Shifting the bits by those of √½ carries into the exponent exactly when the mantissa is √2 or more.
    let shifted = x.to_bits().wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let exponent = (shifted as i32 >> 23) as f32;
    let mantissa = f32::from_bits((shifted & 0x007F_FFFF) + std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let f = mantissa - 1.0;
    let square = f * f;
    let mut p = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        p = p * f + coefficient;
    }
    let tail = p * f * square + (exponent * LN2_LOW - 0.5 * square);
    f + tail + exponent * LN2_HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        for i in -86_900..=86_900 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            for found in [dispatch(|| exp(x)), dispatch_fused(|fused| exp_fused(fused, x))] {
                let error = (f64::from(found) / exact - 1.0).abs();
                assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({x}): relative error {error}");
            }
        }
        assert!(exp(-1e9) < 1e-37 && exp(1e9) > 1e37);
    }

    #[test]
    fn ln_is_within_two_ulp() {
        for i in 1..=200_000 {
            let x = (i as f32 * 1e-4 - 14.0).exp();
            let exact = f64::from(x).ln();
            let error = (f64::from(dispatch(|| ln(x))) - exact).abs() / exact.abs().max(1.0);
            assert!(error < 2.0 * f64::from(f32::EPSILON), "ln({x}): error {error}");
        }
        assert_eq!(dispatch(|| ln(1.0)), 0.0);
    }

    #[test]
    fn sums_of_any_length() {
        for n in [0, 1, 31, 32, 33, 100] {
            let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let b = vec![2.0; n];
            let expected: f32 = a.iter().sum::<f32>() * 2.0;
            assert_eq!(dispatch(|| dot(&a, &b)), expected);
            assert_eq!(dispatch(|| sum(&a)) * 2.0, expected);
            let mut y = a.clone();
            dispatch(|| accumulate(&mut y, [1.0, 0.5], [&a, &b]));
            assert!(y.iter().zip(&a).all(|(y, a)| *y == 2.0 * a + 1.0));
        }
    }
}

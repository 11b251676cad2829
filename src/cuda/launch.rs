//! Launches whose arguments have names and types: two of them cannot be swapped.
//!
//! What a kernel takes is a struct with its parameters as fields, in their order and under their names (`arguments!`).
//! Memory is told apart by its values and by whether the kernel writes it, and every number has a type of its own
//! (`numbers!`). The struct is compared with the kernel's source when the kernel is loaded.

use std::marker::PhantomData;
use std::sync::Arc;

use super::error::CudaError;
use super::machine::{Addresses, Arg, Dtype, Kernel, Launch, Machine, Program, Stream, Values, View, ViewMut, arg};

/// What a kernel can take as one parameter.
pub(super) trait Argument {
    /// Its type as sources write it.
    fn declared() -> String;
    /// Where its bytes lie.
    fn arg(&self) -> Arg<'_>;
}

/// What device memory can hold, by the name of its type in the sources.
pub(super) trait Element {
    const NAME: &'static str;
}

macro_rules! elements {
    ($($type:ty = $name:literal),* $(,)?) => {$(
        impl Element for $type {
            const NAME: &'static str = $name;
        }
    )*};
}
elements!(
    f32 = "float",
    f64 = "double",
    i32 = "int",
    u32 = "unsigned",
    u8 = "unsigned char",
    [f32; 2] = "float2",
    half::f16 = "half_bits",
);

impl<T: Element> Argument for View<'_, T> {
    fn declared() -> String {
        format!("const {}*", T::NAME)
    }

    fn arg(&self) -> Arg<'_> {
        self.as_arg()
    }
}

impl<T: Element> Argument for ViewMut<'_, T> {
    fn declared() -> String {
        format!("{}*", T::NAME)
    }

    fn arg(&self) -> Arg<'_> {
        self.as_arg()
    }
}

impl Argument for Values<'_> {
    fn declared() -> String {
        "const void*".to_owned()
    }

    fn arg(&self) -> Arg<'_> {
        self.as_arg()
    }
}

impl Argument for Addresses {
    fn declared() -> String {
        "const __grid_constant__ Addresses".to_owned()
    }

    fn arg(&self) -> Arg<'_> {
        arg(self)
    }
}

impl Argument for f32 {
    fn declared() -> String {
        "float".to_owned()
    }

    fn arg(&self) -> Arg<'_> {
        arg(self)
    }
}

/// Types for numbers that kernels take as `int`, one for each meaning.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $name(i32);

        impl $name {
            pub(super) const fn of(number: usize) -> Self {
                Self(number as i32)
            }
        }

        impl $crate::cuda::launch::Argument for $name {
            fn declared() -> String {
                "int".to_owned()
            }

            fn arg(&self) -> $crate::cuda::machine::Arg<'_> {
                $crate::cuda::machine::arg(&self.0)
            }
        }
    )*};
}
pub(super) use numbers;

/// What the kernels with one signature take: a field for each parameter, in order.
pub(super) trait Arguments {
    /// The parameters as sources declare them, `const float* maps`.
    fn parameters() -> Vec<String>;
    /// The arguments in the kernel's order.
    fn args(&self) -> Vec<Arg<'_>>;
}

/// A struct that is [`Arguments`].
macro_rules! arguments {
    ($(#[$doc:meta])* struct $name:ident<$life:lifetime> { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name<$life> {
            $(pub(super) $field: $type),*
        }

        impl<$life> $crate::cuda::launch::Arguments for $name<$life> {
            fn parameters() -> Vec<String> {
                use $crate::cuda::launch::Argument;
                vec![$(format!("{} {}", <$type as Argument>::declared(), stringify!($field))),*]
            }

            fn args(&self) -> Vec<$crate::cuda::machine::Arg<'_>> {
                use $crate::cuda::launch::Argument;
                vec![$(self.$field.arg()),*]
            }
        }
    };
}
pub(super) use arguments;

numbers!(
    /// Whether memory of either type holds halves.
    IsHalf,
);

impl From<Dtype> for IsHalf {
    fn from(dtype: Dtype) -> Self {
        Self::of(usize::from(dtype == Dtype::F16))
    }
}

/// How many blocks and threads run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Blocks in x, y and z.
    pub(super) grid: [u32; 3],
    /// Threads of a block.
    pub(super) threads: usize,
    /// Dynamic shared memory of a block, bytes.
    pub(super) shared: usize,
}

/// Blocks that cover `count` items at `each` per block.
pub(super) fn blocks(count: usize, each: usize) -> u32 {
    count.div_ceil(each).max(1) as u32
}

/// A kernel that takes `A`.
#[derive(Debug)]
pub(super) struct TypedKernel<A> {
    kernel: Kernel,
    arguments: PhantomData<A>,
}

impl<A: Arguments> TypedKernel<A> {
    /// Enqueues the kernel.
    ///
    /// # Safety
    /// Every view has the memory behind it that the kernel touches with these numbers, until the stream has passed it.
    pub(super) unsafe fn launch(&self, stream: &Stream, geometry: Geometry, arguments: A) -> Result<(), CudaError> {
        let Geometry { grid, threads, shared } = geometry;
        let (kernel, args) = (&self.kernel, arguments.args());
        // SAFETY: number, order and types of the arguments were compared with the source when the kernel was loaded; the
        // rest is the caller's promise.
        unsafe { stream.launch(&Launch { kernel, grid, threads: threads as u32, shared, args: &args }) }
    }
}

/// The kernels of a program on one machine.
pub(super) struct Loaded {
    program: Program,
    sm: u32,
    kernels: Vec<Kernel>,
}

impl Loaded {
    pub(super) fn new(machine: &Arc<dyn Machine>, program: &Program) -> Result<Self, CudaError> {
        Ok(Self { program: *program, sm: machine.properties().sm, kernels: machine.load(program)? })
    }

    /// The kernel of that name; an error unless it takes `A`.
    pub(super) fn kernel<A: Arguments>(&self, name: &str) -> Result<TypedKernel<A>, CudaError> {
        let failed = |log| CudaError::Compile { program: self.program.name, sm: self.sm, log };
        let kernel = self.kernels.iter().find(|kernel| kernel.name == name);
        let (Some(kernel), Some(declared)) = (kernel, parameters(self.program.source, name)) else {
            return Err(failed(format!("no kernel '{name}'")));
        };
        let (declared, passed) = (declared.join(", "), A::parameters().join(", "));
        if declared != passed {
            return Err(failed(format!("kernel '{name}' takes ({declared}), and is given ({passed})")));
        }
        Ok(TypedKernel { kernel: kernel.clone(), arguments: PhantomData })
    }
}

/// The parameters of a kernel as its source declares them, with one space between words.
fn parameters(source: &str, name: &str) -> Option<Vec<String>> {
    source.split("__global__").skip(1).find_map(|kernel| {
        let kernel = kernel.trim_start().strip_prefix("void")?.trim_start();
        let kernel = match kernel.strip_prefix("__launch_bounds__(") {
            Some(bounds) => bounds.split_once(')')?.1.trim_start(),
            None => kernel,
        };
        let (list, _) = kernel.strip_prefix(name)?.strip_prefix('(')?.split_once(')')?;
        Some(list.split(',').map(|parameter| parameter.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    numbers!(Width, Height);
    arguments!(
        struct Fill<'a> {
            from: View<'a, f32>,
            to: ViewMut<'a, [f32; 2]>,
            width: Width,
            height: Height,
        }
    );

    const SOURCE: &str = r#"
        extern "C" __global__ void __launch_bounds__(THREADS, 2)
            fill(const float* from, float2* to,
                 int width, int height) { from[0] = clip(width); }
        extern "C" __global__ void turned(const float* from, float2* to, int height, int width) {}
        extern "C" __global__ void doubled(const double* from, float2* to, int width, int height) {}"#;

    #[test]
    fn a_kernel_that_takes_something_else_is_refused_by_both_lists() {
        let kernel = |name| Kernel { name, handle: 0 };
        let program = Program { name: "fill.cu", source: SOURCE, kernels: &[] };
        let kernels = ["fill", "turned", "doubled", "clip"].map(kernel).to_vec();
        let loaded = Loaded { program, sm: 80, kernels };
        assert!(loaded.kernel::<Fill<'_>>("fill").is_ok());
        let said = |name| loaded.kernel::<Fill<'_>>(name).unwrap_err().to_string();
        let turned = "kernel 'turned' takes (const float* from, float2* to, int height, int width), and is given (const \
                      float* from, float2* to, int width, int height)";
        assert!(said("turned").ends_with(turned), "{}", said("turned"));
        assert!(said("doubled").contains("takes (const double* from"), "{}", said("doubled"));
        for absent in ["clip", "fil", "fill_all"] {
            assert!(said(absent).ends_with(&format!("no kernel '{absent}'")), "{}", said(absent));
        }
    }

    #[test]
    fn arguments_are_passed_in_the_order_of_the_parameters() {
        // SAFETY: nobody looks behind these addresses.
        let (from, to) = unsafe { (View::from_raw(16, 1), ViewMut::from_raw(32, 1)) };
        let fill = Fill { height: Height::of(5), width: Width::of(3), to, from };
        let [from, to, width, height] = fill.args()[..] else { panic!("four arguments") };
        // SAFETY: `fill` lives, and this is what it holds.
        unsafe {
            assert_eq!((*from.0.cast::<u64>(), *to.0.cast::<u64>()), (16, 32));
            assert_eq!((*width.0.cast::<i32>(), *height.0.cast::<i32>()), (3, 5));
        }
    }
}

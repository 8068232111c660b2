//! The `campanile` binary.
#![forbid(unsafe_code)]

mod cli;

/// Many small objects of a few sizes, freed by the thread that made them: what mimalloc is for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}

//! How a program runs and ends: its work on a runtime of its own, and an exit code also when it panics.
//!
//! Every binary's `main` is this and nothing else, so the codes are the same in all of them. A task that panics alone
//! is not seen here: whoever awaits it raises its panic again.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use schemas::exit;

/// Runs `work` to its end and exits with the code it answers, or with [`exit::SOFTWARE`] when it panics.
pub fn run(work: impl Future<Output = u8>) -> ExitCode {
    ExitCode::from(code(work))
}

fn code(work: impl Future<Output = u8>) -> u8 {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        built.expect("a runtime needs threads and descriptors, and without them nothing can be said");
    match catch_unwind(AssertUnwindSafe(|| runtime.block_on(work))) {
        Ok(code) => code,
        Err(_) => {
            // The panic was told where it was raised. What other tasks hold is not waited for: it may never end.
            runtime.shutdown_background();
            exit::SOFTWARE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_fault_of_ours_and_any_other_end_is_what_the_work_says() {
        assert_eq!(code(async { exit::FOUND }), exit::FOUND);
        assert_eq!(code(async { panic!("on purpose") }), exit::SOFTWARE);
        let raised_again = async {
            let task = tokio::spawn(async { panic!("on purpose, in a task") });
            std::panic::resume_unwind(task.await.expect_err("it panics").into_panic())
        };
        assert_eq!(code(raised_again), exit::SOFTWARE);
    }

    #[test]
    fn a_task_that_never_ends_does_not_hold_up_the_end_of_a_panic() {
        let (blocked, held) = std::sync::mpsc::channel::<()>();
        let code = code(async move {
            tokio::task::spawn_blocking(move || held.recv());
            tokio::task::yield_now().await;
            panic!("on purpose")
        });
        assert_eq!(code, exit::SOFTWARE);
        drop(blocked);
    }
}

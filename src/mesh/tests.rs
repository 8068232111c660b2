//! Order, loss and wake-ups.

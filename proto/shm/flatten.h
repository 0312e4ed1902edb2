// HEDDLE_FLATTEN: the function takes in all that it calls. What lies between two locked operations
// cannot hide behind them, so calls, and arguments that go through memory, are paid for in full.
#pragma once

// Sanitized code grows so much by it that its compilation takes minutes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HEDDLE_FLATTEN
#else
#define HEDDLE_FLATTEN [[gnu::flatten]]
#endif

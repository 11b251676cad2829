// Executes kernel sources on a CPU: this file takes the place of src/cuda/device.cuh when they are compiled as C++.
//
// Blocks run one after the other; the threads of a block are fibers of one CPU thread, which change hands only where
// CUDA threads wait for each other. Waiting is strict: a thread that left the kernel, or waits elsewhere, while others
// wait for it ends the process, as does any access beyond a buffer (guard pages lie behind them). Fibers run in
// ascending, descending or scrambled order, so that a missing barrier shows as another result.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
// One block at a time: what its threads share may be static.
#define __shared__ static
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(executor::dynamic_shared)

struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct dim3 {
    unsigned x, y, z;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

using std::max;
using std::min;

typedef unsigned short half_bits;

namespace executor {

constexpr int LANES = 32;
constexpr size_t STACK = 128 * 1024;
constexpr size_t SHARED = 232448;

enum class Wait { nothing, block, warp, left };

struct Copy {
    void* to;
    const void* from;
    bool valid;
};

// A CUDA thread.
struct Fiber {
    dim3 index;
    jmp_buf place;
    ucontext_t start;
    char* stack;
    bool started;
    Wait wait;
    const char* at;
    // What a warp operation puts in and takes out, in turn, so that one wait per operation suffices.
    unsigned char slots[2][32];
    int turn;
    std::vector<Copy> copies;
    std::vector<size_t> groups;
};

inline std::vector<Fiber> fibers;
inline Fiber* current;
inline jmp_buf scheduler;
inline dim3 block_index, grid_size, block_size;
alignas(16) inline unsigned char dynamic_shared[SHARED];
inline std::function<void()>* body;

[[noreturn]] inline void stop(const char* what) {
    fprintf(stderr, "kernel on the CPU: %s (block %u %u %u, thread %u)\n", what, block_index.x, block_index.y, block_index.z,
            current ? current->index.x : 0);
    abort();
}

inline void yield_for(Wait wait, const char* at) {
    current->wait = wait;
    current->at = at;
    if (_setjmp(current->place) == 0) _longjmp(scheduler, 1);
}

inline void run_fiber() {
    (*body)();
    current->wait = Wait::left;
    _longjmp(scheduler, 1);
}

inline void resume(Fiber& fiber) {
    current = &fiber;
    fiber.wait = Wait::nothing;
    if (_setjmp(scheduler) == 0) {
        if (fiber.started) _longjmp(fiber.place, 1);
        fiber.started = true;
        setcontext(&fiber.start);
    }
    current = nullptr;
}

// Runs every fiber of [first, end) until it waits; true when at least one of them waits for the block.
inline void run_to_wait(size_t first, size_t end, int order, unsigned& seed) {
    std::vector<size_t> turns;
    for (size_t i = first; i < end; i++) turns.push_back(i);
    if (order == 1) std::reverse(turns.begin(), turns.end());
    if (order == 2) {
        for (size_t i = turns.size(); i > 1; i--) {
            seed = seed * 1664525u + 1013904223u;
            std::swap(turns[i - 1], turns[(seed >> 8) % i]);
        }
    }
    for (size_t i : turns) {
        if (fibers[i].wait != Wait::left) resume(fibers[i]);
    }
}

// A warp runs until all its lanes wait for the block or have left.
inline void run_warp(size_t first, size_t end, int order, unsigned& seed) {
    while (true) {
        run_to_wait(first, end, order, seed);
        size_t in_warp = 0, in_block = 0, left = 0;
        for (size_t i = first; i < end; i++) {
            in_warp += fibers[i].wait == Wait::warp;
            in_block += fibers[i].wait == Wait::block;
            left += fibers[i].wait == Wait::left;
        }
        if (in_warp == 0 && (in_block == 0 || left == 0)) return;
        if (in_warp != end - first) stop("some lanes wait for a warp operation that others do not reach");
        for (size_t i = first; i < end; i++) {
            if (fibers[i].at != fibers[first].at) stop("lanes of a warp wait at different operations");
        }
    }
}

inline void run_block(int order, unsigned& seed) {
    const size_t threads = fibers.size();
    for (Fiber& fiber : fibers) {
        getcontext(&fiber.start);
        fiber.start.uc_stack.ss_sp = fiber.stack;
        fiber.start.uc_stack.ss_size = STACK;
        fiber.start.uc_link = nullptr;
        makecontext(&fiber.start, run_fiber, 0);
        fiber.started = false;
        fiber.wait = Wait::nothing;
        fiber.turn = 0;
    }
    while (true) {
        for (size_t warp = 0; warp < threads; warp += LANES) {
            const size_t first = order == 1 ? (threads - 1 - warp) / LANES * LANES : warp;
            run_warp(first, std::min(first + LANES, threads), order, seed);
        }
        size_t waiting = 0;
        for (const Fiber& fiber : fibers) waiting += fiber.wait == Wait::block;
        if (waiting == 0) return;
        if (waiting != threads) stop("some threads wait for the block, and others have left");
    }
}

template <typename... Args, size_t... I>
void call(void (*kernel)(Args...), void** args, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<Args>*>(args[I])...);
}

template <typename... Args>
void launch(void (*kernel)(Args...), const unsigned* grid, unsigned threads, size_t shared, void** args, size_t count, int order,
            unsigned seed) {
    if (shared > SHARED) stop("too much shared memory");
    if (count != sizeof...(Args)) stop("a launch with another number of arguments than the kernel has");
    std::function<void()> run = [&] { call(kernel, args, std::index_sequence_for<Args...>{}); };
    body = &run;
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {threads, 1, 1};
    while (fibers.size() < threads) fibers.push_back(Fiber{.stack = static_cast<char*>(malloc(STACK))});
    while (fibers.size() > threads) {
        free(fibers.back().stack);
        fibers.pop_back();
    }
    for (unsigned i = 0; i < threads; i++) fibers[i].index = {i, 0, 0};
    const unsigned blocks = grid[0] * grid[1] * grid[2];
    for (unsigned turn = 0; turn < blocks; turn++) {
        const unsigned i = order == 1 ? blocks - 1 - turn : turn;
        block_index = {i % grid[0], i / grid[0] % grid[1], i / grid[0] / grid[1]};
        // Not-a-numbers, so that reading before writing shows.
        memset(dynamic_shared, 0xff, shared);
        run_block(order, seed);
    }
}

// Every lane puts a value in; afterwards the slots of all of them can be read until the next operation but one.
template <typename T>
Fiber* exchange(T value, const char* at) {
    static_assert(sizeof(T) <= sizeof current->slots[0], "a slot holds it");
    current->turn = 1 - current->turn;
    memcpy(current->slots[current->turn], &value, sizeof(T));
    yield_for(Wait::warp, at);
    return &fibers[current->index.x / LANES * LANES];
}

template <typename T>
T take(const Fiber& from) {
    T value;
    memcpy(&value, from.slots[current->turn], sizeof(T));
    return value;
}

inline int lane() { return current->index.x % LANES; }

}  // namespace executor

#define threadIdx (executor::current->index)
#define blockIdx (executor::block_index)
#define blockDim (executor::block_size)
#define gridDim (executor::grid_size)

inline void __syncthreads() { executor::yield_for(executor::Wait::block, "__syncthreads"); }
inline void __syncwarp() { executor::exchange(0, "__syncwarp"); }
inline void __threadfence() {}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
    if (mask != 0xffffffffu) executor::stop("a shuffle of some lanes only");
    executor::Fiber* warp = executor::exchange(value, "__shfl_xor_sync");
    return executor::take<T>(warp[executor::lane() ^ bits]);
}

inline unsigned __ballot_sync(unsigned mask, bool value) {
    if (mask != 0xffffffffu) executor::stop("a ballot of some lanes only");
    executor::Fiber* warp = executor::exchange(value, "__ballot_sync");
    unsigned bits = 0;
    for (int i = 0; i < executor::LANES; i++) bits |= static_cast<unsigned>(executor::take<bool>(warp[i])) << i;
    return bits;
}

template <typename T>
T atomicAdd(T* to, T value) {
    T before = *to;
    *to = before + value;
    return before;
}

template <typename T>
T atomicMax(T* to, T value) {
    T before = *to;
    *to = std::max(before, value);
    return before;
}

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline float half_to_float(half_bits bits) {
    _Float16 half;
    memcpy(&half, &bits, sizeof half);
    return static_cast<float>(half);
}

inline half_bits float_to_half(float value) {
    const _Float16 half = static_cast<_Float16>(value);
    half_bits bits;
    memcpy(&bits, &half, sizeof bits);
    return bits;
}

// Copies in the background become visible only where they are waited for.
inline void copy_async_16(void* shared, const void* global, bool valid) {
    if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0) {
        executor::stop("a copy that is not aligned to 16 bytes");
    }
    executor::current->copies.push_back({shared, global, valid});
}

inline void commit_copies() {
    executor::Fiber& fiber = *executor::current;
    size_t earlier = 0;
    for (size_t group : fiber.groups) earlier += group;
    fiber.groups.push_back(fiber.copies.size() - earlier);
}

template <int N>
void wait_copies() {
    executor::Fiber& fiber = *executor::current;
    while (fiber.groups.size() > N) {
        for (size_t i = 0; i < fiber.groups.front(); i++) {
            const executor::Copy& copy = fiber.copies[i];
            if (copy.valid) {
                memcpy(copy.to, copy.from, 16);
            } else {
                memset(copy.to, 0, 16);
            }
        }
        fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + fiber.groups.front());
        fiber.groups.erase(fiber.groups.begin());
    }
}

// The fragments below are those of the PTX manual, written as a map from lane and register to row and column; so a kernel
// that mixes up its fragments fails here.
inline void load_matrices_at(unsigned (&out)[4], const void* row, bool transposed) {
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) executor::stop("a matrix row that is not aligned to 16 bytes");
    executor::Fiber* warp = executor::exchange(row, "ldmatrix");
    const int lane = executor::lane();
    for (int matrix = 0; matrix < 4; matrix++) {
        half_bits pair[2];
        for (int i = 0; i < 2; i++) {
            const int r = transposed ? lane % 4 * 2 + i : lane / 4, c = transposed ? lane / 4 : lane % 4 * 2 + i;
            pair[i] = executor::take<const half_bits*>(warp[matrix * 8 + r])[c];
        }
        out[matrix] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
    }
    // The rows may be overwritten only after every lane has read them.
    executor::exchange(0, "ldmatrix done");
}

inline void load_matrices(unsigned (&out)[4], const void* row) { load_matrices_at(out, row, false); }
inline void load_matrices_transposed(unsigned (&out)[4], const void* row) { load_matrices_at(out, row, true); }

inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    struct Registers {
        unsigned a[4], b[2];
    };
    executor::Fiber* warp = executor::exchange(Registers{{a[0], a[1], a[2], a[3]}, {b0, b1}}, "mma");
    const int lane = executor::lane();
    auto half_of = [](unsigned pair, int i) { return half_to_float(static_cast<half_bits>(i ? pair >> 16 : pair)); };
    float left[2][16], right[16][2];
    // Four lanes hold a row of a: registers 0 and 2 rows 0–7, 1 and 3 rows 8–15, 2 and 3 the columns from 8.
    for (int other = lane / 4 * 4; other < lane / 4 * 4 + 4; other++) {
        const Registers theirs = executor::take<Registers>(warp[other]);
        for (int reg = 0; reg < 4; reg++) {
            for (int i = 0; i < 2; i++) left[reg % 2][other % 4 * 2 + i + reg / 2 * 8] = half_of(theirs.a[reg], i);
        }
    }
    // Four lanes hold a column of b: register 0 rows 0–7, register 1 rows 8–15. A lane sums two columns.
    for (int column = 0; column < 2; column++) {
        for (int quarter = 0; quarter < 4; quarter++) {
            const Registers theirs = executor::take<Registers>(warp[(lane % 4 * 2 + column) * 4 + quarter]);
            for (int reg = 0; reg < 2; reg++) {
                for (int i = 0; i < 2; i++) right[quarter * 2 + i + reg * 8][column] = half_of(theirs.b[reg], i);
            }
        }
    }
    for (int side = 0; side < 2; side++) {
        for (int column = 0; column < 2; column++) {
            float total = sum[side * 2 + column];
            for (int k = 0; k < 16; k++) total += left[side][k] * right[k][column];
            sum[side * 2 + column] = total;
        }
    }
}

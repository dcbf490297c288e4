// The steps of rows.py for a CPU: the same arguments and results, an example at a time in the first-level cache. The
// formulas are explained in mrt/threats/balls.py and projections.py, whose searches these are, line for line.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

namespace {

enum Kind { LINF, L2, L2_EXACT, L1, L1_EXACT };  // in the order of sizes.py
const float TINY = 1.17549435e-38f;  // the least normal number; no gradient below it is followed
const float INWARDS = 1 + 1.1920929e-7f;  // so that the rounding left over errs to the inside

struct Row {  // passed by value, and its fields copied before a loop: a loop that may write to them stays scalar
    const float *grad, *x_adv, *x;
    float *free, *z, *size, *room, *out;  // `free`: the gradient where the pixel box lets it move
    int64_t d;
};

float bits_to_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// How many |free| are at least `least`.
int64_t count(Row r, float least) {
    const float *free = r.free;
    int32_t reaching = 0;
#pragma omp simd reduction(+ : reaching)
    for (int64_t i = 0; i < r.d; i++) reaching += std::fabs(free[i]) >= least;
    return reaching;
}

// A size that the k largest of |free| and their ties reach, and no other: positive floats are ordered as their bits.
float cut(Row r, int64_t k) {
    uint32_t bits = 0;
    for (uint32_t bit = 1u << 30; bit; bit >>= 1) {
        int64_t reaching = count(r, bits_to_float(bits | bit));
        if (reaching >= k) bits |= bit;
        if (reaching == k) break;  // then it need not be the k-th largest itself
    }
    return std::max(bits_to_float(bits), TINY);  // entries of zero are no ties
}

float norm(const float *v, int64_t d) {
    float square = 0;
#pragma omp simd reduction(+ : square)
    for (int64_t i = 0; i < d; i++) square += v[i] * v[i];
    return std::sqrt(square);
}

float largest(const float *v, int64_t d) {
    float high = TINY;
#pragma omp simd reduction(max : high)
    for (int64_t i = 0; i < d; i++) {
        float size = std::fabs(v[i]);
        high = size > high ? size : high;
    }
    return high;
}

// |z|, and how far the pixel box, where it counts, lets x go in its direction.
void part(Row r, bool box) {
    const float *__restrict z = r.z, *__restrict x = r.x;
    float *__restrict size = r.size, *__restrict room = r.room;
    const float far = box ? 0 : 1e30f;  // no infinity: the compiler is told that there are none
#pragma omp simd
    for (int64_t i = 0; i < r.d; i++) {
        size[i] = std::fabs(z[i]);
        room[i] = (z[i] > 0 ? 1 - x[i] : x[i]) + far;
    }
}

// The least level with sum min((size - level)+, room) <= eps, by Newton steps, and bisection where they fail.
float level(Row r, float eps) {
    const float *size = r.size, *room = r.room;
    float at = 0, low = 0, high = largest(size, r.d);
    for (int turn = 0; turn < 40; turn++) {
        float spent = 0, slope = 0;
#pragma omp simd reduction(+ : spent, slope)
        for (int64_t i = 0; i < r.d; i++) {
            float above = std::max(size[i] - at, 0.0f), bound = room[i];
            spent += std::min(above, bound);
            slope += (above > 0) & (above < bound) ? 1.0f : 0.0f;
        }
        float excess = spent - eps;
        if (excess <= 0 && at == 0) break;
        (excess > 0 ? low : high) = at;
        float newton = at + excess / std::max(slope, 1.0f);
        bool settled = std::fabs(excess) <= 4e-7f * spent;
        if (settled) newton = std::max(newton, at);
        bool useful = settled || (slope > 0 && newton > low && newton < high && turn < 20);
        bool closed = high - low <= 1e-7f * high && !settled;
        at = closed ? high : useful ? newton : (low + high) / 2;
        if (settled || closed) break;
    }
    return at * INWARDS;
}

// The largest scale <= 1 with |min(scale size, room)|_2 <= eps: each turn is exact if no further entry meets its bound.
float box_scale(Row r, float eps) {
    const float *size = r.size, *room = r.room;
    float scale = std::min(eps / std::max(norm(size, r.d), TINY), 1.0f), before = scale - 1;
    for (int turn = 0; turn < 40 && scale < 1 && scale > before; turn++) {
        before = scale;
        float active = 0, clipped = 0;
#pragma omp simd reduction(+ : active, clipped)
        for (int64_t i = 0; i < r.d; i++) {
            bool inside = scale * size[i] < room[i];
            active += inside ? size[i] * size[i] : 0.0f;
            clipped += inside ? 0.0f : room[i] * room[i];
        }
        float exact = std::sqrt(std::max(eps * eps - clipped, 0.0f) / std::max(active, TINY));
        scale = active > 0 ? std::min(std::max(exact, scale), 1.0f) : 1.0f;
    }
    return scale;
}

// out = x + scale sign(z) (|z| - level)+, in [0, 1]
void finish(Row r, float scale, float low) {
    const float *__restrict z = r.z, *__restrict x = r.x;
    float *__restrict out = r.out;
#pragma omp simd
    for (int64_t i = 0; i < r.d; i++) {
        float delta = std::copysign(std::max(std::fabs(z[i]) - low, 0.0f) * scale, z[i]);
        out[i] = std::min(std::max(x[i] + delta, 0.0f), 1.0f);
    }
}

void linf(Row r, float eps, float size) {
    const float *__restrict grad = r.grad, *__restrict x_adv = r.x_adv, *__restrict x = r.x;
    float *__restrict out = r.out;
#pragma omp simd
    for (int64_t i = 0; i < r.d; i++) {
        float sign = (grad[i] > 0 ? 1.0f : 0.0f) - (grad[i] < 0 ? 1.0f : 0.0f);
        float lowest = std::max(x[i] - eps, 0.0f), highest = std::min(x[i] + eps, 1.0f);
        out[i] = std::min(std::max(x_adv[i] + size * sign, lowest), highest);
    }
}

void l2(Row r, float eps, float size, bool exact) {
    const float *__restrict free = r.free, *__restrict x_adv = r.x_adv, *__restrict x = r.x;
    float *__restrict unit = r.size, *__restrict z = r.z;
    float high = largest(free, r.d);
#pragma omp simd
    for (int64_t i = 0; i < r.d; i++) unit[i] = free[i] / high;  // squares of 1e-30 are zero
    float length = size / std::max(norm(unit, r.d), 1.0f);
#pragma omp simd
    for (int64_t i = 0; i < r.d; i++) z[i] = unit[i] * length + (x_adv[i] - x[i]);
    if (exact) part(r, true);
    finish(r, exact ? box_scale(r, eps) : std::min(eps / std::max(norm(r.z, r.d), TINY), 1.0f), 0);
}

void l1(Row r, float eps, float size, int64_t keep, bool exact) {
    const float *__restrict free = r.free, *__restrict x_adv = r.x_adv, *__restrict x = r.x;
    float *__restrict z = r.z;
    float least = cut(r, keep);
    float length = size / static_cast<float>(std::max<int64_t>(count(r, least), 1));
#pragma omp simd
    for (int64_t i = 0; i < r.d; i++) {
        float step = std::fabs(free[i]) >= least ? std::copysign(length, free[i]) : 0.0f;
        z[i] = step + (x_adv[i] - x[i]);
    }
    part(r, exact);
    finish(r, 1, level(r, eps));
}

}  // namespace

extern "C" void mrt_step_rows(const float *grad, const float *x_adv, const float *x, float *out, const float *eps,
                              const float *size, const int64_t *keep, int64_t rows, int64_t d, const int32_t *kinds,
                              int32_t kinds_count, int32_t threads) {
    auto some = [=](int64_t first, int64_t last) {
        std::vector<float> scratch(4 * d);  // one example's free, z, size and room
        float *free = scratch.data();
        for (int64_t n = first; n < last; n++) {
            Row r{grad + n * d, x_adv + n * d, x + n * d, free, free + d, free + 2 * d, free + 3 * d, nullptr, d};
            const float *__restrict g = r.grad, *__restrict from = r.x_adv;
#pragma omp simd
            for (int64_t i = 0; i < d; i++) {
                bool stuck = ((g[i] > 0) & (from[i] >= 1)) | ((g[i] < 0) & (from[i] <= 0));
                free[i] = stuck ? 0.0f : g[i];
            }
            for (int32_t c = 0; c < kinds_count; c++) {
                int64_t at = c * rows + n;
                r.out = out + at * d;
                if (kinds[c] == LINF) linf(r, eps[at], size[at]);
                else if (kinds[c] == L2 || kinds[c] == L2_EXACT) l2(r, eps[at], size[at], kinds[c] == L2_EXACT);
                else l1(r, eps[at], size[at], keep[n], kinds[c] == L1_EXACT);
            }
        }
    };
    int64_t team = std::min<int64_t>(threads, std::max<int64_t>(rows * d / (1 << 16), 1));  // no thread for less work
    std::vector<std::thread> others;
    int64_t shared = rows / team;
    try {
        for (int64_t t = 1; t < team; t++, shared = rows * t / team)
            others.emplace_back(some, rows * t / team, rows * (t + 1) / team);
    } catch (const std::system_error &) {  // no more threads are to be had
        some(shared, rows);
    }
    some(0, rows / team);
    for (auto &other : others) other.join();
}

/* The core of clinometer for any language: scores, tilts and moments of rows in memory, on pointers and strides.
 *
 * Every function returns CLINOMETER_OK or a code below; clinometer_error() then says what was wrong, on that thread
 * until its next call. Nothing is kept between calls, inputs are not written to, and calls from several threads do not
 * know of each other. Instruction sets are chosen when the first call runs (CLINOMETER_ISA forces one).
 *
 * Rows of a prompt are adjacent. Arrays are dense, in C order, of double but for the rows. NaN in a value: unlabelled.
 */
#ifndef CLINOMETER_H
#define CLINOMETER_H

#include <stdint.h>

#if defined(__GNUC__)
#define CLINOMETER_API __attribute__((visibility("default")))
#else
#define CLINOMETER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Changes when a function or structure here does; one that is only added leaves it as it is. */
#define CLINOMETER_ABI 1

enum {
  CLINOMETER_OK = 0,
  CLINOMETER_BAD_ARGUMENT = 1,
  CLINOMETER_NON_FINITE = 2, /* a row holds NaN or Inf */
  CLINOMETER_NO_MEMORY = 3,
  CLINOMETER_FAILED = 4
};

enum { CLINOMETER_F32 = 0, CLINOMETER_F16 = 1, CLINOMETER_BF16 = 2, CLINOMETER_F64 = 3 };

typedef struct {
  const void* data; /* row 0 */
  int64_t n_rows, dim;
  int64_t row_stride; /* bytes from one row to the next; 0: dim elements */
  int32_t dtype;
  int32_t in_double; /* not 0: lanes of double, as precision="double" */
  int64_t n_threads; /* changes no bit */
} clinometer_rows;

typedef struct {
  int64_t n_prompts;
  const int64_t* offsets;      /* (n_prompts + 1) from 0 to n_rows: prompt g is rows [offsets[g], offsets[g + 1]) */
  const double* prompt_weight; /* (n_prompts) or NULL: all alike */
} clinometer_prompts;

/* Where results go; NULL: not wanted. K directions, B betas, J values. */
typedef struct {
  double* baseline;                     /* (J) */
  double *gain, *gain_se, *win_rate;    /* (K, B, J) */
  double *kl, *reverse_kl, *chi2, *ess; /* (K, B) */
} clinometer_tilts;

CLINOMETER_API int32_t clinometer_abi(void);
CLINOMETER_API const char* clinometer_version(void);
CLINOMETER_API const char* clinometer_isa(void); /* of the kernels in use */
CLINOMETER_API const char* clinometer_error(void);

/* scores (n_rows, K) = <direction k, row> */
CLINOMETER_API int32_t clinometer_score(const clinometer_rows* rows, const double* directions, int64_t n_directions,
                                        double* scores);

/* mean (dim) and covariance (dim, dim) inside prompts; ddof 1 scales each prompt by n / (n - 1). Either may be NULL. */
CLINOMETER_API int32_t clinometer_moments(const clinometer_rows* rows, const clinometer_prompts* prompts, int32_t ddof,
                                          double* mean, double* covariance);

/* The policy proportional to exp(score / beta) inside each prompt; betas (K, B), each > 0, infinity for the base policy
 * or 0 for the largest score alone; values (n_rows, J). */
CLINOMETER_API int32_t clinometer_tilt(const clinometer_rows* rows, const clinometer_prompts* prompts,
                                       const double* directions, int64_t n_directions, const double* betas,
                                       int64_t n_betas, const double* values, int64_t n_values,
                                       const clinometer_tilts* out);

#ifdef __cplusplus
}
#endif
#endif

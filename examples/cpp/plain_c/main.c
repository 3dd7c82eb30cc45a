/* Scores, moments and a tilt of eight rows from C, and what an error looks like. */
#include <clinometer/clinometer.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int said(int32_t code, const char* what) {
  if (code != CLINOMETER_OK) printf("%s: code %d, %s\n", what, (int)code, clinometer_error());
  return code != CLINOMETER_OK;
}

int main(void) {
  /* two prompts of four responses, rows of two numbers, a third number between rows that is no part of them */
  const float phi[8][3] = {{0, 1, 9}, {1, 0, 9}, {2, 1, 9}, {3, 0, 9}, {5, 2, 9}, {6, 2, 9}, {7, 0, 9}, {8, 0, 9}};
  const int64_t offsets[] = {0, 4, 8};
  const double direction[] = {1, 0}, betas[] = {2.0, INFINITY}, values[] = {0, 0, 1, 1, 0, 1, 1, 1};
  clinometer_rows rows = {phi, 8, 2, sizeof phi[0], CLINOMETER_F32, 1, 1};
  const clinometer_prompts prompts = {2, offsets, NULL};
  double scores[8], mean[2], covariance[4], gain[2], kl[2];
  clinometer_tilts out;
  memset(&out, 0, sizeof out);
  out.gain = gain;
  out.kl = kl;
  if (clinometer_abi() != CLINOMETER_ABI) return 1;
  if (said(clinometer_score(&rows, direction, 1, scores), "score")) return 1;
  if (said(clinometer_moments(&rows, &prompts, 0, mean, covariance), "moments")) return 1;
  if (said(clinometer_tilt(&rows, &prompts, direction, 1, betas, 2, values, 1, &out), "tilt")) return 1;
  printf("scores %g ... %g\n", scores[0], scores[7]);
  printf("mean %g %g\ncovariance %g %g %g\n", mean[0], mean[1], covariance[0], covariance[1], covariance[3]);
  printf("gain %.6f %g\nkl %.6f %g\n", gain[0], gain[1], kl[0], kl[1]);
  rows.dtype = 7;
  return said(clinometer_score(&rows, direction, 1, scores), "refused") ? 0 : 1;
}

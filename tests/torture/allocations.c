/* Loaded before libc: lets the k-th allocation of the compiled core fail, or of NumPy and libstdc++ on its behalf.
 *
 * From Python through ctypes.CDLL(None): alloc_arm(k) (0 counts only), alloc_disarm() -> allocations seen. Of any thread.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void*, size_t), *__libc_memalign(size_t, size_t);

static int armed;
static long seen, wanted;

void alloc_arm(long k) {
  seen = 0, wanted = k;
  __atomic_store_n(&armed, 1, __ATOMIC_SEQ_CST);
}

long alloc_disarm(void) {
  __atomic_store_n(&armed, 0, __ATOMIC_SEQ_CST);
  return seen;
}

static int struck(const void* caller) {
  Dl_info from;
  if (!__atomic_load_n(&armed, __ATOMIC_RELAXED) || !dladdr(caller, &from) || !from.dli_fname) return 0;
  const char* const slash = strrchr(from.dli_fname, '/');
  const char* const name = slash ? slash + 1 : from.dli_fname;
  if (strncmp(name, "_core.", 6) && strncmp(name, "libstdc++", 9) && strncmp(name, "_multiarray_umath", 17)) return 0;
  if (__atomic_add_fetch(&seen, 1, __ATOMIC_RELAXED) != wanted) return 0;
  errno = ENOMEM;
  return 1;
}

#define FAILS (struck(__builtin_return_address(0)))

void* malloc(size_t n) { return FAILS ? NULL : __libc_malloc(n); }
void* calloc(size_t n, size_t size) { return FAILS ? NULL : __libc_calloc(n, size); }
void* realloc(void* old, size_t n) { return FAILS ? NULL : __libc_realloc(old, n); }
void* memalign(size_t to, size_t n) { return FAILS ? NULL : __libc_memalign(to, n); }
void* aligned_alloc(size_t to, size_t n) { return FAILS ? NULL : __libc_memalign(to, n); }
int posix_memalign(void** out, size_t to, size_t n) {
  void* const got = FAILS ? NULL : __libc_memalign(to, n);
  if (!got) return ENOMEM;
  *out = got;
  return 0;
}

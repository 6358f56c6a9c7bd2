#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <unistd.h>

namespace {

/// Large columns on huge pages take a fifth less time and memory (docs/performance.md). glibc uses
/// them only when its tunables say so at the start of the process, so the program starts itself
/// once more; that costs a millisecond, because nothing large is loaded yet. Arrow's own allocator
/// does not know them. Who has set either variable is obeyed.
void StartWithHugePages(char** arguments) {
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  if (::getenv("GLIBC_TUNABLES") != nullptr) return;
  ::setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 1);
  ::setenv("ARROW_DEFAULT_MEMORY_POOL", "system", 0);
  ::execv("/proc/self/exe", arguments);  // Where it fails, small pages do.
#else
  static_cast<void>(arguments);
#endif
}

}  // namespace

int main(int argc, char** argv) {
  StartWithHugePages(argv);
  // Global, because libgnomon_torch.so takes the modules from it. Lazy: most functions of the
  // libraries are never called by one command, and binding them all is a sixth of the start.
  void* const library = ::dlopen("libgnomon.so", RTLD_LAZY | RTLD_GLOBAL);
  void* const entry = library == nullptr ? nullptr : ::dlsym(library, "gnomon_main");
  if (entry == nullptr) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread.
    std::fprintf(stderr, "error: libgnomon.so cannot be loaded: %s\n", ::dlerror());
    return EXIT_FAILURE;
  }
  return reinterpret_cast<int (*)(int, char**)>(entry)(argc, argv);
}

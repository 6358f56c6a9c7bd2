// Libraries with one flaw each, chosen by a definition.
#include "plugin/sdk.h"

namespace {

[[maybe_unused]] double Twice(double x) { return 2 * x; }

struct [[maybe_unused]] Total {
  double total = 0;
  void Add(double value) { total += value; }
  void Merge(const Total& later) { total += later.total; }
  double Finish() const { return total; }
};

}  // namespace

#if defined(FLAW_NO_ENTRY)

extern "C" GNOMON_PLUGIN_EXPORT int32_t something_else();
extern "C" int32_t something_else() { return 0; }

#elif defined(FLAW_NEWER_MAJOR)

extern "C" GNOMON_PLUGIN_EXPORT int32_t gnomon_plugin_v2(const void* host, void* plugin);
extern "C" int32_t gnomon_plugin_v2(const void* /*host*/, void* /*plugin*/) { return 0; }

#elif defined(FLAW_NEWER_MINOR)

extern "C" GNOMON_PLUGIN_EXPORT int32_t gnomon_plugin_v1(const GnomonHost* host,
                                                         GnomonPlugin* plugin);
extern "C" int32_t gnomon_plugin_v1(const GnomonHost* /*host*/, GnomonPlugin* plugin) {
  plugin->abi_minor = GNOMON_PLUGIN_ABI_MINOR + 1;
  return 0;
}

#elif defined(FLAW_LYING_FUNCTION)

namespace {

// Says that it worked and gives an array of another length.
int32_t Lie(void* /*self*/, int64_t num_rows, const ArrowArray* const* /*arguments*/,
            ArrowArray* result, GnomonError* /*error*/) {
  gnomon::sdk::Output<double> output(num_rows + 1);
  std::move(output).MoveTo(result);
  return 0;
}

const char* const kParameters[] = {"g"};
const GnomonFunction kLie = {.size = sizeof(GnomonFunction),
                             .flags = 0,
                             .name = "lie",
                             .doc = nullptr,
                             .parameters = kParameters,
                             .num_parameters = 1,
                             .result = "g",
                             .self = nullptr,
                             .call = &Lie};
const GnomonFunction* const kFunctions[] = {&kLie};

}  // namespace

extern "C" GNOMON_PLUGIN_EXPORT int32_t gnomon_plugin_v1(const GnomonHost* host,
                                                         GnomonPlugin* plugin);
extern "C" int32_t gnomon_plugin_v1(const GnomonHost* /*host*/, GnomonPlugin* plugin) {
  plugin->functions = kFunctions;
  plugin->num_functions = 1;
  return 0;
}

#else

GNOMON_PLUGIN("flawed", "0.1") {
#if defined(FLAW_THROWS_AT_LOAD)
  throw gnomon::sdk::Error(gnomon::sdk::ErrorKind::kUnavailable, "no licence today");
#elif defined(FLAW_DUPLICATE_OVERLOAD)
  plugin.Function("twice", &Twice);
  plugin.Function("twice", [](int64_t x) { return 2 * x; });  // another overload is fine
  plugin.Function("twice", [](double x) { return 3 * x; });
#elif defined(FLAW_DUPLICATE_AGGREGATE)
  plugin.Aggregate<Total>("total");
  plugin.Aggregate<Total>("total");
#elif defined(FLAW_BAD_NAME)
  plugin.Function("Twice it", &Twice);
#elif defined(FLAW_BAD_TYPE)
  struct Dated {
    void Add(gnomon::sdk::Date /*value*/) {}
    void Merge(const Dated& /*later*/) {}
    int64_t Finish() const { return 0; }
  };
  plugin.Aggregate<Dated>("dated");
#endif
}

#endif

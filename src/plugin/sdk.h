#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <deque>
#include <exception>
#include <new>
#include <tuple>

#include "plugin/sdk_column.h"

/// Everything that a plug-in library needs: this header, a C++20 compiler, nothing to link.
///
///   #include "plugin/sdk.h"
///
///   struct Range {  // an aggregate: what one window has seen
///     void Add(double value);
///     void Merge(const Range& later);
///     std::optional<double> Finish() const;
///   };
///
///   GNOMON_PLUGIN("sample", "1.0") {
///     plugin.Aggregate<Range>("value_range", "greatest less smallest value");
///     plugin.Function("cube", [](double x) { return x * x * x; }, "x to the third power");
///   }
///
/// Build: c++ -std=c++20 -O2 -fPIC -fvisibility=hidden -shared sample.cc -o libsample.so. The rules
/// (purity, threads, order of values) are those of plugin/abi.h; docs/guide/plugins.md is the
/// guide.
#pragma GCC visibility push(hidden)
namespace gnomon::sdk {

/// What an aggregate says of a window without values.
enum class OfNothing {
  kNull,   ///< null; Finish is not called
  kFinish  ///< what Finish of a fresh state gives, as a count does
};

namespace internal {

template <typename T>
struct Optional : std::false_type {
  using Value = T;
};
template <typename T>
struct Optional<std::optional<T>> : std::true_type {
  using Value = T;
};

/// Result and parameters of anything that is called, without references.
template <typename F>
struct SignatureOf : SignatureOf<decltype(&F::operator())> {};
template <typename R, typename... A>
struct SignatureOf<R (*)(A...)> {
  using Result = R;
  using Parameters = std::tuple<std::remove_cvref_t<A>...>;
};
template <typename R, typename... A>
struct SignatureOf<R (*)(A...) noexcept> : SignatureOf<R (*)(A...)> {};
template <typename C, typename R, typename... A>
struct SignatureOf<R (C::*)(A...)> : SignatureOf<R (*)(A...)> {};
template <typename C, typename R, typename... A>
struct SignatureOf<R (C::*)(A...) noexcept> : SignatureOf<R (*)(A...)> {};
template <typename C, typename R, typename... A>
struct SignatureOf<R (C::*)(A...) const> : SignatureOf<R (*)(A...)> {};
template <typename C, typename R, typename... A>
struct SignatureOf<R (C::*)(A...) const noexcept> : SignatureOf<R (*)(A...)> {};

inline void Report(ErrorKind kind, const char* message, int64_t row, GnomonError* error) {
  error->kind = static_cast<int32_t>(kind);
  error->row = row;
  std::strncpy(error->message, message, sizeof(error->message) - 1);
  error->message[sizeof(error->message) - 1] = '\0';
}

/// Runs `call` at the border: 0, or 1 with the exception in *error. `row` is where it was.
template <typename F>
int32_t Guard(GnomonError* error, const int64_t* row, F&& call) {
  const int64_t at = -1;
  const int64_t& where = row == nullptr ? at : *row;
  try {
    std::forward<F>(call)();
    return 0;
  } catch (const Error& e) {
    Report(e.kind(), e.what(), e.row() >= 0 ? e.row() : where, error);
  } catch (const std::logic_error& e) {
    Report(ErrorKind::kUser, e.what(), where, error);
  } catch (const std::bad_alloc&) {
    Report(ErrorKind::kExhausted, "out of memory", where, error);
  } catch (const std::exception& e) {
    Report(ErrorKind::kInternal, e.what(), where, error);
  } catch (...) {
    Report(ErrorKind::kInternal, "an exception of an unknown type", where, error);
  }
  return 1;
}

template <typename Parameters>
struct Formats;
template <typename... T>
struct Formats<std::tuple<T...>> {
  static constexpr std::array<const char*, sizeof...(T)> kNames = {FormatOf<T>()...};
};

/// A function that is called row by row.
template <typename F, typename Result, typename Parameters>
struct RowCall;
template <typename F, typename Result, typename... P>
struct RowCall<F, Result, std::tuple<P...>> {
  using Value = typename Optional<Result>::Value;
  using Types = Formats<std::tuple<typename Optional<P>::Value...>>;
  static constexpr bool kSeesNulls = (Optional<P>::value || ...);

  /// An argument as the function wants it; null for a null that it does not take.
  template <typename T>
  static std::optional<T> Argument(const Column<typename Optional<T>::Value>& column, int64_t row) {
    if constexpr (Optional<T>::value) {
      return std::optional<T>(std::in_place, column.at(row));
    } else {
      return column.at(row);
    }
  }

  template <size_t... I>
  static void Run(const F& function, int64_t num_rows, const ArrowArray* const* arguments,
                  std::index_sequence<I...> /*places*/, int64_t* row, Output<Value>* output) {
    const std::tuple<Column<typename Optional<P>::Value>...> columns{
        Column<typename Optional<P>::Value>(*arguments[I])...};
    for (*row = 0; *row < num_rows; ++*row) {
      const std::tuple<std::optional<P>...> values{Argument<P>(std::get<I>(columns), *row)...};
      if (!(std::get<I>(values).has_value() && ...)) continue;
      if constexpr (Optional<Result>::value) {
        if (auto result = function(*std::get<I>(values)...)) output->Set(*row, *std::move(result));
      } else {
        output->Set(*row, function(*std::get<I>(values)...));
      }
    }
  }

  static int32_t Call(void* self, int64_t num_rows, const ArrowArray* const* arguments,
                      ArrowArray* result, GnomonError* error) {
    int64_t row = -1;
    return Guard(error, &row, [&] {
      Output<Value> output(num_rows);
      Run(*static_cast<const F*>(self), num_rows, arguments, std::index_sequence_for<P...>(), &row,
          &output);
      row = -1;
      std::move(output).MoveTo(result);
    });
  }
};

/// A function of whole batches: (Column<A>..., Output<R>&).
template <typename F, typename Parameters>
struct BatchCall;
template <typename F, typename... P>
struct BatchCall<F, std::tuple<P...>> {
  template <typename T>
  struct Element;
  template <typename T>
  struct Element<Column<T>> {
    using Type = T;
  };
  template <typename T>
  struct Element<Output<T>> {
    using Type = T;
  };
  static constexpr size_t kNumColumns = sizeof...(P) - 1;
  using Result = typename Element<std::tuple_element_t<kNumColumns, std::tuple<P...>>>::Type;
  template <size_t I>
  using Value = typename Element<std::tuple_element_t<I, std::tuple<P...>>>::Type;

  template <size_t... I>
  static auto TypesOf(std::index_sequence<I...>) -> Formats<std::tuple<Value<I>...>>;
  using Types = decltype(TypesOf(std::make_index_sequence<kNumColumns>()));

  template <size_t... I>
  static void Run(const F& function, const ArrowArray* const* arguments,
                  std::index_sequence<I...> /*places*/, Output<Result>* output) {
    function(Column<Value<I>>(*arguments[I])..., *output);
  }

  static int32_t Call(void* self, int64_t num_rows, const ArrowArray* const* arguments,
                      ArrowArray* result, GnomonError* error) {
    return Guard(error, nullptr, [&] {
      Output<Result> output(num_rows);
      Run(*static_cast<const F*>(self), arguments, std::make_index_sequence<kNumColumns>(),
          &output);
      std::move(output).MoveTo(result);
    });
  }
};

template <typename State>
struct AggregateCalls {
  using Input = std::tuple_element_t<0, typename SignatureOf<decltype(&State::Add)>::Parameters>;
  using Finished = std::remove_cvref_t<decltype(std::declval<const State&>().Finish())>;
  using Value = typename Optional<Finished>::Value;

  static int32_t Init(void* /*self*/, void* state, GnomonError* error) {
    return Guard(error, nullptr, [&] { new (state) State(); });
  }
  static int32_t Accumulate(void* /*self*/, void* state, const ArrowArray* values, int64_t begin,
                            int64_t end, GnomonError* error) {
    return Guard(error, nullptr, [&] {
      const Column<Input> column(*values);
      for (int64_t i = begin; i < end; ++i) static_cast<State*>(state)->Add(column[i]);
    });
  }
  static int32_t Merge(void* /*self*/, void* state, const void* other, GnomonError* error) {
    return Guard(error, nullptr,
                 [&] { static_cast<State*>(state)->Merge(*static_cast<const State*>(other)); });
  }
  static int32_t Finish(void* /*self*/, const void* state, GnomonValue* value, GnomonError* error) {
    return Guard(error, nullptr, [&] {
      const std::optional<Value> result = static_cast<const State*>(state)->Finish();
      *value = {};
      value->is_valid = result.has_value() ? 1 : 0;
      if (!result) return;
      if constexpr (std::is_same_v<Value, double>) {
        value->real = *result;
      } else if constexpr (std::is_same_v<Value, std::string>) {
        thread_local std::string kept;
        kept = *result;
        value->data = kept.data();
        value->size = static_cast<int64_t>(kept.size());
      } else {
        value->integer = *result;
      }
    });
  }
  static void Destroy(void* /*self*/, void* state) { static_cast<State*>(state)->~State(); }
};

}  // namespace internal

/// What a library offers; the `plugin` of GNOMON_PLUGIN's block.
class Registration {
 public:
  /// An aggregate: a default-constructible State with `void Add(T)` (T: bool, int64_t, double or
  /// std::string_view), `void Merge(const State& later)` and `R Finish() const`, where R is bool,
  /// int64_t, double, std::string or a std::optional of them (nothing: null). Nulls are not
  /// added.
  template <typename State>
  void Aggregate(const char* name, const char* doc = "", OfNothing of_nothing = OfNothing::kNull) {
    using Calls = internal::AggregateCalls<State>;
    using Input = typename Calls::Input;
    using Value = typename Calls::Value;
    static_assert(std::default_initializable<State>, "a fresh state is made by State()");
    static_assert(alignof(State) <= 64, "states are aligned to 64 bytes at most");
    static_assert(std::is_same_v<Input, std::string_view> || !internal::kIsText<Input>,
                  "Add takes texts as std::string_view");
    static_assert(std::is_same_v<Value, std::string> || !internal::kIsText<Value>,
                  "Finish gives texts as std::string");
    GnomonAggregate& table = aggregates_.emplace_back();
    table = {};
    table.size = sizeof(table);
    table.flags = of_nothing == OfNothing::kFinish ? GNOMON_AGGREGATE_OF_NOTHING : 0;
    table.name = name;
    table.doc = doc;
    table.input = internal::FormatOf<Input>();
    table.result = internal::FormatOf<Value>();
    table.state_size = sizeof(State);
    table.state_align = alignof(State);
    table.init = &Calls::Init;
    table.accumulate = &Calls::Accumulate;
    table.merge = &Calls::Merge;
    table.finish = &Calls::Finish;
    table.destroy = &Calls::Destroy;
    aggregate_tables_.push_back(&table);
  }

  /// A function that is called for each row: R f(A...), with R possibly a std::optional (nothing:
  /// null). A row with a null argument gives null without a call, unless that parameter is a
  /// std::optional.
  template <typename F>
  void Function(const char* name, F function, const char* doc = "") {
    using Signature = internal::SignatureOf<F>;
    using Call = internal::RowCall<F, typename Signature::Result, typename Signature::Parameters>;
    using Types = typename Call::Types;
    static_assert(Types::kNames.size() > 0, "a function takes at least one argument");
    AddFunction(name, doc, Types::kNames.data(), Types::kNames.size(),
                internal::FormatOf<typename Call::Value>(),
                Call::kSeesNulls ? GNOMON_FUNCTION_SEES_NULLS : 0, &Call::Call,
                std::move(function));
  }

  /// A function that is called for whole batches: void f(Column<A>..., Output<R>&). It sees
  /// nulls.
  template <typename F>
  void BatchFunction(const char* name, F function, const char* doc = "") {
    using Call = internal::BatchCall<F, typename internal::SignatureOf<F>::Parameters>;
    using Types = typename Call::Types;
    static_assert(Call::kNumColumns > 0, "a function takes at least one column");
    AddFunction(name, doc, Types::kNames.data(), Types::kNames.size(),
                internal::FormatOf<typename Call::Result>(), GNOMON_FUNCTION_SEES_NULLS,
                &Call::Call, std::move(function));
  }

  void WriteTo(GnomonPlugin* plugin) const {
    plugin->abi_minor = GNOMON_PLUGIN_ABI_MINOR;
    plugin->functions = function_tables_.data();
    plugin->num_functions = static_cast<int64_t>(function_tables_.size());
    plugin->aggregates = aggregate_tables_.data();
    plugin->num_aggregates = static_cast<int64_t>(aggregate_tables_.size());
  }

 private:
  template <typename F>
  void AddFunction(const char* name, const char* doc, const char* const* parameters, size_t count,
                   const char* result, uint32_t flags, decltype(GnomonFunction::call) call,
                   F function) {
    auto own = std::make_shared<F>(std::move(function));
    GnomonFunction& table = functions_.emplace_back();
    table = {};
    table.size = sizeof(table);
    table.flags = flags;
    table.name = name;
    table.doc = doc;
    table.parameters = parameters;
    table.num_parameters = static_cast<int64_t>(count);
    table.result = result;
    table.self = own.get();
    table.call = call;
    function_tables_.push_back(&table);
    callables_.push_back(std::move(own));
  }

  std::deque<GnomonFunction> functions_;
  std::deque<GnomonAggregate> aggregates_;
  std::vector<const GnomonFunction*> function_tables_;
  std::vector<const GnomonAggregate*> aggregate_tables_;
  std::vector<std::shared_ptr<void>> callables_;
};

}  // namespace gnomon::sdk
#pragma GCC visibility pop

/// `GNOMON_PLUGIN("name", "version") { plugin.Function(...); ... }`, once per library, outside of
/// any namespace.
#define GNOMON_PLUGIN(plugin_name, plugin_version)                                     \
  static void GnomonPluginBlock(::gnomon::sdk::Registration& plugin);                  \
  extern "C" GNOMON_PLUGIN_EXPORT int32_t gnomon_plugin_v1(const GnomonHost* host,     \
                                                           GnomonPlugin* out);         \
  extern "C" int32_t gnomon_plugin_v1(const GnomonHost* /*host*/, GnomonPlugin* out) { \
    out->name = plugin_name;                                                           \
    out->version = plugin_version;                                                     \
    return ::gnomon::sdk::internal::Guard(&out->error, nullptr, [&] {                  \
      /* The tables live as long as the process; a second load finds them made. */     \
      static const auto* const registration = [] {                                     \
        auto made = std::make_unique<::gnomon::sdk::Registration>();                   \
        GnomonPluginBlock(*made);                                                      \
        return made.release();                                                         \
      }();                                                                             \
      registration->WriteTo(out);                                                      \
    });                                                                                \
  }                                                                                    \
  static void GnomonPluginBlock([[maybe_unused]] ::gnomon::sdk::Registration& plugin)

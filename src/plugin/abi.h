#ifndef GNOMON_PLUGIN_ABI_H
#define GNOMON_PLUGIN_ABI_H

#include <stdint.h>

/*
 * The border between Gnomon and a user's plug-in library, in C. A plug-in is a shared library that
 * exports
 *
 *   int32_t gnomon_plugin_v1(const GnomonHost* host, GnomonPlugin* plugin);
 *
 * which fills in `plugin` and returns 0, or writes plugin->error and returns anything else. It is
 * called once, when the library is loaded; a loaded library stays in the process until its end.
 * plugin/sdk.h writes all of this for C++.
 *
 * Versions. The 1 in the function's name is the major version: structures of one major version only
 * grow at their ends, and every structure begins with the size that its writer knew, so that a
 * reader takes missing members for zero. `abi_minor` counts the growth: a plug-in names the one
 * that it needs, an older host refuses it.
 *
 * Types are written as in the Arrow C Data Interface:
 *
 *   "b" bool   "l" int64   "g" float64   "u" string (UTF-8, 32-bit offsets)   "tsu:UTC" timestamp,
 * microseconds "tdD" date, days   "tDu" duration, microseconds
 *
 * Functions take and give all of them, aggregates the first four. Batches are ArrowArrays of these
 * types.
 *
 * Ownership. What a plug-in puts in GnomonPlugin (names, descriptions, tables) stays valid and
 * unchanged until the process ends. Arguments are lent for the call: a plug-in neither keeps nor
 * releases them. An ArrowArray that a function gives is the host's: it calls release once, from any
 * thread, at any later time.
 *
 * Errors. A call returns 0, or anything else after writing *error, which comes with an empty
 * message and row -1. No C++ exception may leave a plug-in.
 *
 * Purity. The same arguments give the same bits on every machine, in every batch, at any time: a
 * value that is served must be the one that was trained on, and a call whose arguments are constant
 * may be made once for all rows.
 *
 * Threads. Functions are called from many threads at once, with one `self`. A state is used by one
 * thread at a time.
 */

#ifdef __cplusplus
extern "C" {
#endif

#define GNOMON_PLUGIN_ABI_MINOR 0
#define GNOMON_PLUGIN_SYMBOL "gnomon_plugin_v1"

#if defined(_WIN32)
#define GNOMON_PLUGIN_EXPORT __declspec(dllexport)
#else
#define GNOMON_PLUGIN_EXPORT __attribute__((visibility("default")))
#endif

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*);
  void* private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*);
  void* private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

/* What kind of error it is: decides exit code and HTTP status. */
enum {
  GNOMON_ERROR_USER = 0,        /* the values or their types are wrong */
  GNOMON_ERROR_NOT_FOUND = 1,   /* a named thing does not exist */
  GNOMON_ERROR_EXHAUSTED = 2,   /* memory or a limit */
  GNOMON_ERROR_UNAVAILABLE = 3, /* something that is needed does not answer now */
  GNOMON_ERROR_UNSUPPORTED = 4, /* known, but not done here */
  GNOMON_ERROR_INTERNAL = 5     /* a bug of the plug-in */
};

typedef struct GnomonError {
  int32_t kind;
  int64_t row;        /* of the batch, from 0; -1: no row in particular */
  char message[1000]; /* UTF-8, ends with a zero; longer ones are cut */
} GnomonError;

typedef struct GnomonHost {
  uint32_t size;
  uint32_t abi_minor;
  const char* build; /* "gnomon 0.1.0", for messages */
} GnomonHost;

/* The function looks at null arguments itself. Without this flag it is never called for a row with
 * one, and the row's value is null. */
#define GNOMON_FUNCTION_SEES_NULLS 1u

/* A function of the expression language. Several with one name and different parameters are its
 * overloads. */
typedef struct GnomonFunction {
  uint32_t size;
  uint32_t flags;
  const char* name;              /* lower-case letters, digits and _, beginning with a letter */
  const char* doc;               /* one sentence, or null */
  const char* const* parameters; /* types, at least one */
  int64_t num_parameters;
  const char* result; /* a type */
  void* self;
  /* One value per row, for rows whose values are wanted: rows that a condition excludes are not in
   * the batch. */
  int32_t (*call)(void* self, int64_t num_rows, const struct ArrowArray* const* arguments,
                  struct ArrowArray* result, GnomonError* error);
} GnomonFunction;

/* A value that an aggregate gives. */
typedef struct GnomonValue {
  int32_t is_valid; /* 0: null */
  int64_t integer;  /* "l", and "b" as 0 or 1 */
  double real;      /* "g" */
  const char* data; /* "u": valid until the next call of this thread with this aggregate */
  int64_t size;
} GnomonValue;

/* A window without values has a value: finish of a fresh state. Without this flag it is null and
 * nothing is called. */
#define GNOMON_AGGREGATE_OF_NOTHING 1u

/*
 * A window aggregate. The host lays out states: state_size bytes, aligned to state_align (a power
 * of two, at most 64). init makes a fresh state there, destroy ends it. Values come in the order of
 * time, one after the other: a call with rows [begin, end) is the same as one call for each of
 * them, and none of them is null. merge appends what `other`, a state over later rows, has seen; it
 * must take a fresh `state`. finish neither changes nor ends the state: more rows may follow. How
 * rows are cut into states is in docs/design/window_aggregates.md; it never depends on how the rows
 * are stored or asked for.
 */
typedef struct GnomonAggregate {
  uint32_t size;
  uint32_t flags;
  const char* name;
  const char* doc;
  const char* input;
  const char* result;
  void* self;
  uint64_t state_size;
  uint64_t state_align;
  int32_t (*init)(void* self, void* state, GnomonError* error);
  int32_t (*accumulate)(void* self, void* state, const struct ArrowArray* values, int64_t begin,
                        int64_t end, GnomonError* error);
  int32_t (*merge)(void* self, void* state, const void* other, GnomonError* error);
  int32_t (*finish)(void* self, const void* state, GnomonValue* value, GnomonError* error);
  void (*destroy)(void* self, void* state);
} GnomonAggregate;

typedef struct GnomonPlugin {
  uint32_t size;      /* comes with the host's size; a plug-in writes no member beyond it */
  uint32_t abi_minor; /* the least that the plug-in needs */
  const char* name;
  const char* version; /* the plug-in's own, or null */
  const GnomonFunction* const* functions;
  int64_t num_functions;
  const GnomonAggregate* const* aggregates;
  int64_t num_aggregates;
  GnomonError error;
} GnomonPlugin;

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* GNOMON_PLUGIN_ABI_H */

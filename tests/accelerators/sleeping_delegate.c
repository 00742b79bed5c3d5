/* A TFLite external delegate for tests. It takes operators, computes them with TFLite's own
 * kernels, so that the answers stay right, and does besides what its options say:
 *
 * claim     first, last (default), all, none, or the builtin code of a type (25: SOFTMAX);
 *           not CONV_2D, whose kernel gets no scratch memory this way
 * sleep_us  microseconds to sleep in every inference
 * fault     none (default); create, prepare, invoke: fails there; crash: aborts, hang: never
 *           returns, wrong: alters the first output element, all three in an inference
 *
 * The structs are those of tflite/core/c/common.h (Apache-2.0), in the 64-bit layout that TFLite
 * 2.14 and LiteRT 2 share, each down to the last member that is used here.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK, FAILED };
enum { FLOAT32 = 1 }; /* kTfLiteFloat32 */

typedef struct { int size, data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  int type;
  char *data;
  void *dims;
  float scale;
  int zero_point, allocation_type;
  size_t bytes;
  char rest[64];
} Tensor;

typedef struct {
  IntArray *inputs, *outputs, *intermediates, *temporaries;
  void *user_data, *builtin_data;
  const void *custom_initial_data;
  int custom_initial_data_size;
  Delegate *delegate;
  char might_have_side_effect;
} Node;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *registration_external, *async_kernel;
  uint64_t inplace_operator;
} Registration;

struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  int (*ResizeTensor)(Context *, Tensor *, IntArray *);
  void (*ReportError)(Context *, const char *, ...);
  int (*AddTensors)(Context *, int, int *);
  int (*GetNodeAndRegistration)(Context *, int, Node **, Registration **);
  int (*ReplaceNodeSubsetsWithDelegateKernels)(Context *, Registration, const IntArray *,
                                               Delegate *);
};

struct Delegate {
  void *data;
  int (*Prepare)(Context *, Delegate *);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *opaque_builder;
};

typedef struct {
  Delegate *delegate;
  IntArray *nodes_to_replace, *input_tensors, *output_tensors;
} Params;

typedef struct {
  char claim[16], fault[16];
  long sleep_us;
} Options;

typedef struct {
  const Options *options;
  const IntArray *outputs; /* of the partition */
  int size, has_memory;
  Node *nodes;
  Registration *kernels;
} Partition;

static IntArray *array(int size) {
  IntArray *result = calloc(1, sizeof(IntArray) + size * sizeof(int));
  result->size = size;
  return result;
}

static int holds(const IntArray *values, int value) {
  for (int i = 0; i < values->size; i++)
    if (values->data[i] == value) return 1;
  return 0;
}

static int is_fault(const Options *options, const char *name) {
  return strcmp(options->fault, name) == 0;
}

static void *partition_init(Context *context, const char *buffer, size_t length) {
  const Params *params = (const Params *)buffer;
  Partition *self = calloc(1, sizeof *self);
  (void)length;
  self->options = params->delegate->data;
  self->outputs = params->output_tensors;
  self->size = params->nodes_to_replace->size;
  self->nodes = calloc(self->size, sizeof *self->nodes);
  self->kernels = calloc(self->size, sizeof *self->kernels);
  for (int i = 0; i < self->size; i++) {
    Node *node;
    Registration *kernel;
    context->GetNodeAndRegistration(context, params->nodes_to_replace->data[i], &node, &kernel);
    self->nodes[i] = *node;
    self->nodes[i].temporaries = array(0); /* kernels free this one, and so does the interpreter */
    self->kernels[i] = *kernel;
  }
  return self;
}

static void partition_free(Context *context, void *data) {
  Partition *self = data;
  (void)context;
  for (int i = 0; i < self->size; i++) free(self->nodes[i].temporaries);
  free(self->nodes);
  free(self->kernels);
  free(self);
}

static int partition_prepare(Context *context, Node *node) {
  Partition *self = node->user_data;
  self->has_memory = 0;
  for (int i = 0; i < self->size; i++)
    if (self->kernels[i].prepare && self->kernels[i].prepare(context, &self->nodes[i]) != OK)
      return FAILED;
  return OK;
}

/* The interpreter plans memory for the tensors around a partition, not for those within. */
static void lend(Context *context, const Partition *self, const IntArray *tensors) {
  for (int i = 0; i < tensors->size; i++)
    if (!holds(self->outputs, tensors->data[i])) {
      Tensor *tensor = &context->tensors[tensors->data[i]];
      tensor->data = calloc(1, tensor->bytes + 64);
    }
}

static int partition_invoke(Context *context, Node *node) {
  Partition *self = node->user_data;
  const Options *options = self->options;
  if (is_fault(options, "crash")) abort();
  while (is_fault(options, "hang")) sleep(1);
  if (is_fault(options, "invoke")) {
    context->ReportError(context, "the delegate failed in an inference, as it was told to");
    return FAILED;
  }
  for (int i = 0; !self->has_memory && i < self->size; i++) {
    lend(context, self, self->nodes[i].outputs);
    lend(context, self, self->nodes[i].temporaries);
  }
  self->has_memory = 1;
  for (int i = 0; i < self->size; i++)
    if (self->kernels[i].invoke(context, &self->nodes[i]) != OK) return FAILED;
  if (is_fault(options, "wrong")) {
    Tensor *output = &context->tensors[self->outputs->data[0]];
    output->data[output->type == FLOAT32 ? 2 : 0] ^= 0x40; /* far more than rounding */
  }
  if (options->sleep_us > 0) {
    struct timespec rest = {options->sleep_us / 1000000, options->sleep_us % 1000000 * 1000};
    nanosleep(&rest, NULL);
  }
  return OK;
}

static int wants(const Options *options, int position, int count, int code) {
  if (strcmp(options->claim, "all") == 0) return 1;
  if (strcmp(options->claim, "first") == 0) return position == 0;
  if (strcmp(options->claim, "last") == 0) return position == count - 1;
  return strcmp(options->claim, "none") != 0 && atoi(options->claim) == code;
}

static int prepare(Context *context, Delegate *delegate) {
  const Options *options = delegate->data;
  IntArray *plan;
  if (is_fault(options, "prepare")) {
    context->ReportError(context, "the delegate failed to prepare, as it was told to");
    return FAILED;
  }
  if (context->GetExecutionPlan(context, &plan) != OK) return FAILED;
  IntArray *claimed = array(plan->size);
  claimed->size = 0;
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Registration *kernel;
    if (context->GetNodeAndRegistration(context, plan->data[i], &node, &kernel) != OK)
      return FAILED;
    if (wants(options, i, plan->size, kernel->builtin_code))
      claimed->data[claimed->size++] = plan->data[i];
  }
  Registration kernel = {.init = partition_init,
                         .free = partition_free,
                         .prepare = partition_prepare,
                         .invoke = partition_invoke,
                         .custom_name = "SleepingDelegate",
                         .version = 1};
  int status = context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, claimed, delegate);
  free(claimed);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                        void (*report)(const char *)) {
  Delegate *delegate = calloc(1, sizeof *delegate);
  Options *options = calloc(1, sizeof *options);
  strcpy(options->claim, "last");
  strcpy(options->fault, "none");
  for (size_t i = 0; i < count; i++) {
    if (strcmp(keys[i], "claim") == 0) {
      strncpy(options->claim, values[i], sizeof options->claim - 1);
    } else if (strcmp(keys[i], "fault") == 0) {
      strncpy(options->fault, values[i], sizeof options->fault - 1);
    } else if (strcmp(keys[i], "sleep_us") == 0) {
      options->sleep_us = atol(values[i]);
    } else {
      report("unknown option; known: claim, fault, sleep_us");
      return NULL;
    }
  }
  if (is_fault(options, "create")) {
    report("no device found, as it was told to say");
    return NULL;
  }
  delegate->data = options;
  delegate->Prepare = prepare;
  return delegate;
}

/* LiteRT's Python destroys a delegate that was never made, too. */
void tflite_plugin_destroy_delegate(Delegate *delegate) {
  if (delegate == NULL) return;
  free(delegate->data);
  free(delegate);
}

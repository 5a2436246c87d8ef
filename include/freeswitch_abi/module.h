/* The module's table, the interfaces it registers, and the services of the core that belong to no call. */
#ifndef FREESWITCH_ABI_MODULE_H
#define FREESWITCH_ABI_MODULE_H

#include "event.h"
#include "types.h"

/* Version of the table below; FreeSWITCH refuses any other. */
#define SWITCH_API_VERSION 5

typedef struct switch_loadable_module_interface switch_loadable_module_interface_t;
typedef struct switch_api_interface switch_api_interface_t;
typedef struct switch_application_interface switch_application_interface_t;
typedef struct switch_stream_handle switch_stream_handle_t;

typedef enum { SMODF_NONE = 0, SMODF_GLOBAL_SYMBOLS = 1 << 0 } switch_module_flag_enum_t;
typedef uint32_t switch_module_flag_t;

typedef switch_status_t (*switch_module_load_t)(switch_loadable_module_interface_t **module_interface,
												switch_memory_pool_t *pool);
typedef switch_status_t (*switch_module_runtime_t)(void);
typedef switch_status_t (*switch_module_shutdown_t)(void);

/* What `<module>_module_interface` is. */
typedef struct switch_loadable_module_function_table {
	int switch_api_version;
	switch_module_load_t load;
	switch_module_shutdown_t shutdown;
	switch_module_runtime_t runtime;
	switch_module_flag_t flags;
} switch_loadable_module_function_table_t;

_Static_assert(sizeof(switch_loadable_module_function_table_t) == 40, "size of the module table");
_Static_assert(offsetof(switch_loadable_module_function_table_t, load) == 8, "load");
_Static_assert(offsetof(switch_loadable_module_function_table_t, shutdown) == 16, "shutdown");
_Static_assert(offsetof(switch_loadable_module_function_table_t, runtime) == 24, "runtime");
_Static_assert(offsetof(switch_loadable_module_function_table_t, flags) == 32, "flags");

typedef enum {
	SWITCH_ENDPOINT_INTERFACE = 0,
	SWITCH_APPLICATION_INTERFACE = 4,
	SWITCH_API_INTERFACE = 5
} switch_module_interface_name_t;

/* All that one module has registered. While `rwlock` is held for reading, `unload` answers "Module in use". */
struct switch_loadable_module_interface {
	const char *module_name;
	void *endpoint_interface;
	void *timer_interface;
	void *dialplan_interface;
	struct switch_codec_interface *codec_interface;
	switch_application_interface_t *application_interface;
	void *chat_application_interface;
	switch_api_interface_t *api_interface;
	void *json_api_interface;
	void *file_interface;
	void *speech_interface;
	void *directory_interface;
	void *chat_interface;
	void *say_interface;
	void *asr_interface;
	void *management_interface;
	void *limit_interface;
	void *database_interface;
	switch_thread_rwlock_t *rwlock;
	int refs;
	switch_memory_pool_t *pool;
};

_Static_assert(sizeof(switch_loadable_module_interface_t) == 168, "size of switch_loadable_module_interface_t");
_Static_assert(offsetof(switch_loadable_module_interface_t, application_interface) == 40, "application_interface");
_Static_assert(offsetof(switch_loadable_module_interface_t, api_interface) == 56, "api_interface");
_Static_assert(offsetof(switch_loadable_module_interface_t, rwlock) == 144, "rwlock");
_Static_assert(offsetof(switch_loadable_module_interface_t, pool) == 160, "pool");

/* Where an API command writes its answer. */
typedef uint8_t *(*switch_stream_handle_read_function_t)(switch_stream_handle_t *handle, int *len);
typedef switch_status_t (*switch_stream_handle_write_function_t)(switch_stream_handle_t *handle, const char *fmt, ...);
typedef switch_status_t (*switch_stream_handle_raw_write_function_t)(switch_stream_handle_t *handle, uint8_t *data,
																	 switch_size_t datalen);
struct switch_stream_handle {
	switch_stream_handle_read_function_t read_function;
	switch_stream_handle_write_function_t write_function;
	switch_stream_handle_raw_write_function_t raw_write_function;
	void *data;
	void *end;
	switch_size_t data_size;
	switch_size_t data_len;
	switch_size_t alloc_len;
	switch_size_t alloc_chunk;
	switch_event_t *param_event;
};

_Static_assert(sizeof(switch_stream_handle_t) == 80, "size of switch_stream_handle_t");
_Static_assert(offsetof(switch_stream_handle_t, write_function) == 8, "write_function");
_Static_assert(offsetof(switch_stream_handle_t, raw_write_function) == 16, "raw_write_function");
_Static_assert(offsetof(switch_stream_handle_t, param_event) == 72, "param_event");

/* `cmd` may be NULL; `session` is set only when a dialplan runs the command. */
typedef switch_status_t (*switch_api_function_t)(const char *cmd, switch_core_session_t *session,
												 switch_stream_handle_t *stream);

/* An API command. The module sets the first four fields; the strings must live until the module is unloaded. */
struct switch_api_interface {
	const char *interface_name;
	const char *desc;
	switch_api_function_t function;
	const char *syntax;
	switch_thread_rwlock_t *rwlock;
	int refs;
	switch_mutex_t *reflock;
	switch_loadable_module_interface_t *parent;
	struct switch_api_interface *next;
};

_Static_assert(sizeof(switch_api_interface_t) == 72, "size of switch_api_interface_t");
_Static_assert(offsetof(switch_api_interface_t, desc) == 8, "desc");
_Static_assert(offsetof(switch_api_interface_t, function) == 16, "function");
_Static_assert(offsetof(switch_api_interface_t, syntax) == 24, "syntax");

typedef enum {
	SAF_NONE = 0,
	SAF_SUPPORT_NOMEDIA = 1 << 0,
	SAF_ROUTING_EXEC = 1 << 1,
	SAF_MEDIA_TAP = 1 << 2,
	SAF_ZOMBIE_EXEC = 1 << 3
} switch_application_flag_enum_t;

/* `data` may be NULL. */
typedef void (*switch_application_function_t)(switch_core_session_t *session, const char *data);

/* A dialplan application. The module sets the first six fields; the strings must live until the module is unloaded. */
struct switch_application_interface {
	const char *interface_name;
	switch_application_function_t application_function;
	const char *long_desc;
	const char *short_desc;
	const char *syntax;
	uint32_t flags;
	switch_thread_rwlock_t *rwlock;
	int refs;
	switch_mutex_t *reflock;
	switch_loadable_module_interface_t *parent;
	struct switch_application_interface *next;
};

_Static_assert(sizeof(switch_application_interface_t) == 88, "size of switch_application_interface_t");
_Static_assert(offsetof(switch_application_interface_t, application_function) == 8, "application_function");
_Static_assert(offsetof(switch_application_interface_t, long_desc) == 16, "long_desc");
_Static_assert(offsetof(switch_application_interface_t, short_desc) == 24, "short_desc");
_Static_assert(offsetof(switch_application_interface_t, syntax) == 32, "syntax");
_Static_assert(offsetof(switch_application_interface_t, flags) == 40, "flags");

switch_loadable_module_interface_t *switch_loadable_module_create_module_interface(switch_memory_pool_t *pool,
																				   const char *name);
/* The result is a switch_api_interface_t, a switch_application_interface_t, … after `iname`, already in the module's list. */
void *switch_loadable_module_create_interface(switch_loadable_module_interface_t *mod,
											  switch_module_interface_name_t iname);

switch_status_t switch_thread_rwlock_rdlock(switch_thread_rwlock_t *rwlock);
switch_status_t switch_thread_rwlock_tryrdlock(switch_thread_rwlock_t *rwlock);
switch_status_t switch_thread_rwlock_trywrlock(switch_thread_rwlock_t *rwlock);
switch_status_t switch_thread_rwlock_unlock(switch_thread_rwlock_t *rwlock);

void switch_log_printf(switch_text_channel_t channel, const char *file, const char *func, int line,
					   const char *userdata, switch_log_level_t level, const char *fmt, ...)
	__attribute__((format(printf, 7, 8)));

/* `string` is "add <word> <word> …" or "del <word> …"; a word "::console::list_uuid" stands for the calls' uuids. */
switch_status_t switch_console_set_complete(const char *string);

const char *switch_version_full(void);
/* The caller frees the result with free(); NULL when there is no such variable. */
char *switch_core_get_variable_dup(const char *varname);

#endif

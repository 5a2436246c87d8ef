/* The stand-in FreeSWITCH: what its files share, and the functions (`host_…`) by which a test drives it.
 *
 * It implements exactly the functions of include/, with FreeSWITCH's threads, locks and order of callbacks. Audio is 16 bit
 * linear throughout: every call's codec is L16. A text returned as `char *` is the caller's, to be given to host_free. */
#ifndef HOST_H
#define HOST_H

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "freeswitch_abi.h"

/* As of session threads, console and event socket threads of the real one. */
#ifndef HOST_THREAD_STACK
#define HOST_THREAD_STACK (240 * 1024)
#endif
/* Most a media bug buffers in one direction, in bytes; what does not fit is lost. */
#define HOST_BUG_BUFFER (512 * 1024)
#define HOST_CHANNEL_FLAGS 256

/* ---- memory and locks (memory.c) ---- */

struct fspr_pool_t {
	pthread_mutex_t mutex;
	struct pool_block *blocks;
};
struct fspr_thread_mutex_t {
	pthread_mutex_t mutex;
};
/* As a lock of the C library, which prefers readers, and which any thread may give back for the one that took it for reading. The
 * standard does not promise the latter; so it is counted here. */
struct fspr_thread_rwlock_t {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	uint32_t readers;
	bool writing;
};

switch_memory_pool_t *pool_new(void);
void pool_free(switch_memory_pool_t *pool);
void *pool_alloc(switch_memory_pool_t *pool, size_t size);
char *pool_strdup(switch_memory_pool_t *pool, const char *text);
/* Recursive, as FreeSWITCH's nested ones; freed with the pool, as are the locks. */
switch_mutex_t *mutex_new(switch_memory_pool_t *pool);
switch_thread_rwlock_t *rwlock_new(switch_memory_pool_t *pool);
bool mutex_trylock(switch_mutex_t *mutex);
void mutex_lock(switch_mutex_t *mutex);
void mutex_unlock(switch_mutex_t *mutex);
void rwlock_wrlock(switch_thread_rwlock_t *lock);
/* For writing, when it is free within `ms`. */
bool rwlock_timedwrlock(switch_thread_rwlock_t *lock, uint32_t ms);
/* A condition whose deadlines are of CLOCK_MONOTONIC, and such a deadline. */
void condition_init(pthread_cond_t *condition);
struct timespec deadline(uint32_t ms);

/* Bytes in order of arrival. */
struct buffer {
	uint8_t *data;
	size_t used, capacity, limit;
};
/* Takes all or nothing; nothing when it would hold more than `limit` (0: no limit). */
bool buffer_write(struct buffer *buffer, const void *data, size_t size);
size_t buffer_read(struct buffer *buffer, void *data, size_t size);
void buffer_free(struct buffer *buffer);

/* Appends formatted text to a growing string. */
void text_append(char **text, size_t *length, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Runs the function on a thread of its own and waits for it. */
void run_on_thread(void *(*function)(void *), void *argument);
int thread_start(pthread_t *thread, const char *name, void *(*function)(void *), void *argument);
int64_t now_ns(void);
void sleep_until_ns(int64_t deadline);

/* ---- events (event.c) ---- */

struct event_header {
	char *name, *value;
	struct event_header *next;
};
struct switch_event {
	switch_event_types_t event_id;
	char *subclass;
	struct event_header *headers;
	char *body;
	bool in_media_callback;
	/* Fired by host_fire_event: for listeners alone. */
	bool of_the_test;
	struct switch_event *next;
};
void events_start(void);

/* ---- sessions (session.c) ---- */

struct switch_channel {
	switch_core_session_t *session;
	char *name, *uuid;
	atomic_int state;
	atomic_int hangup_cause;
	atomic_uchar flags[HOST_CHANNEL_FLAGS];
	switch_mutex_t *profile_mutex;
	switch_event_t *variables;
	bool refuses_media;
	/* Pointers by name, under the profile mutex. */
	struct channel_private *privates;
	/* Digits received and not yet taken by the dialplan. */
	switch_mutex_t *dtmf_mutex;
	struct buffer digits;
};

struct channel_private {
	char *key;
	const void *pointer;
	struct channel_private *next;
};

/* Appended, never freed before the session. FreeSWITCH walks its lists without a lock; here each step is under the session's
 * hook mutex, and the functions run without it. */
struct hook {
	union {
		switch_recv_dtmf_hook_t recv_dtmf;
		switch_read_frame_hook_t read_frame;
	} function;
	struct hook *next;
};

struct switch_core_session {
	char *uuid;
	switch_memory_pool_t *pool;
	switch_channel_t *channel;
	switch_thread_rwlock_t *rwlock;
	switch_mutex_t *codec_read_mutex, *codec_write_mutex;
	/* Of the list of bugs. Taken and given back by the same thread. */
	pthread_rwlock_t bug_rwlock;
	switch_media_bug_t *bugs;
	/* Written under both codec mutexes and their own, so that one of the three is enough to read them. FreeSWITCH copies them for
	 * whoever asks without any lock. */
	switch_codec_implementation_t read_impl, write_impl;
	pthread_mutex_t impl_mutex;
	switch_codec_t *read_codec, *write_codec;
	/* The codec is not negotiated yet: a caller that asks for it finds none. */
	atomic_bool codec_unsettled;
	switch_frame_t raw_read_frame, raw_write_frame;
	_Alignas(8) uint8_t raw_read_data[SWITCH_RECOMMENDED_BUFFER_SIZE * 2], raw_write_data[SWITCH_RECOMMENDED_BUFFER_SIZE * 2];
	struct buffer raw_write_buffer;
	atomic_bool destroyed;
	pthread_mutex_t hook_mutex;
	struct hook *recv_dtmf_hooks, *read_frame_hooks;
	switch_core_media_params_t media_params;
	struct host_call *call;
	switch_core_session_t *next;
};

switch_core_session_t *session_create(const char *uuid, struct host_call *call);
/* Waits until nobody holds the session, then forgets and frees it. On the session's own thread. */
void session_destroy(switch_core_session_t *session);
bool channel_down(switch_channel_t *channel);
void channel_hangup(switch_channel_t *channel, int cause);
void channel_set_flag(switch_channel_t *channel, int flag, bool value);
/* The hook that `place` points to, the list's or a hook's next one. */
struct hook *hook_after(switch_core_session_t *session, struct hook **place);
/* A digit has come: the hooks, then the queue of the dialplan, with the DTMF mutex held throughout. */
void channel_queue_dtmf(switch_channel_t *channel, const switch_dtmf_t *dtmf);

/* ---- media (media.c, bug.c) ---- */

struct switch_media_bug {
	struct buffer raw_write_buffer, raw_read_buffer;
	switch_frame_t *write_replace_frame_in, *write_replace_frame_out;
	switch_media_bug_callback_t callback;
	switch_mutex_t *read_mutex, *write_mutex;
	switch_core_session_t *session;
	void *user_data;
	atomic_uint flags;
	atomic_bool ready;
	_Alignas(8) uint8_t data[SWITCH_RECOMMENDED_BUFFER_SIZE];
	int16_t tmp[SWITCH_RECOMMENDED_BUFFER_SIZE];
	time_t stop_time;
	pthread_t thread_id;
	char *function, *target;
	uint32_t record_frame_size;
	struct switch_media_bug *next;
};

/* Whether this thread is inside a READ, WRITE or WRITE_REPLACE callback. */
extern _Thread_local int in_media_callback;

/* Makes `rate`, `ptime_ms`, `channels` the session's codec, in both directions. */
void session_set_codec(switch_core_session_t *session, uint32_t rate, uint32_t ptime_ms, uint32_t channels);
void bugs_read(switch_core_session_t *session, switch_frame_t *frame);
switch_frame_t *bugs_write(switch_core_session_t *session, switch_frame_t *frame, bool *replaced);
void bugs_remove_all(switch_core_session_t *session);
void bugs_flush_all(switch_core_session_t *session);
/* The endpoint: waits until the caller's next packet is due (false: there is none now); takes it, with the read codec locked;
 * has the waiting looked at again; gives the caller a packet. */
bool endpoint_wait(switch_core_session_t *session);
void endpoint_take(switch_core_session_t *session, switch_frame_t *frame);
/* Hands a digit for the caller to the SIP endpoint (endpoint.c), as its table of functions says now. */
switch_status_t endpoint_send_dtmf(switch_core_session_t *session, const switch_dtmf_t *dtmf);
void endpoint_wake(switch_core_session_t *session);
/* Whether the call has a virtual clock and this is no session's thread: between ticks no time passes, so that nobody writes. */
bool endpoint_stands_still(switch_core_session_t *session);
void endpoint_write(switch_core_session_t *session, const switch_frame_t *frame);

/* ---- modules (module.c) ---- */

/* Runs an application on the session's thread, as the dialplan does. */
bool application_execute(switch_core_session_t *session, const char *name, const char *data);

/* ---- what the driver calls ---- */

typedef void (*host_log_sink)(void *data, int level, const char *uuid, const char *file, int line, const char *text,
							  int in_media_callback);
typedef void (*host_event_sink)(void *data, const char *subclass, const char *const *names, const char *const *values,
								size_t headers, const char *body, int in_media_callback);

/* Before anything else. Sinks are called on any thread, events on one of their own. */
void host_start(host_log_sink log_sink, host_event_sink event_sink, void *data);
void host_free(void *memory);
/* The clock of all times given, in ns: CLOCK_MONOTONIC. */
int64_t host_now_ns(void);
/* Blocks until every event fired so far has been delivered. */
void host_flush_events(void);
/* Text of a configuration file, as switch_xml_open_cfg(`name`) finds it; NULL: there is none. */
void host_set_config(const char *name, const char *xml);
/* Fires an event of FreeSWITCH's, or of another module's (`subclass`), to those that listen for it. */
void host_fire_event(int kind, const char *subclass, const char *const *names, const char *const *values, size_t count);
/* What `reloadxml` does for those who listen: calls them on the calling thread. */
void host_reload_xml(void);
void host_set_global(const char *name, const char *value);
/* One completion a line. */
char *host_completions(void);
/* "subclass owner" lines of the reserved subclasses. */
char *host_subclasses(void);

/* NULL when it went well, else why not. */
char *host_module_load(const char *path, const char *name);
char *host_module_unload(const char *name, int force);
/* "name<TAB>syntax" lines. */
char *host_apis(void);
char *host_applications(void);
/* What the command answers. A NULL `argument` reaches the command as "". */
char *host_api(const char *command, const char *argument, const char *user);
/* Has these called on the media thread right before and after each READ, WRITE and WRITE_REPLACE callback of every bug but the
 * stand-in's own recorder; before the first call is placed. */
void host_watch_callbacks(void (*enter)(void), void (*leave)(void));
/* Around what a module does on a media thread. */
void watch_enter(void);
void watch_leave(void);

struct host_call_options {
	const char *uuid;
	uint32_t rate, ptime_ms, channels;
	/* What the session's thread does with what it reads: one of HOST_CALL_…. */
	int kind;
	/* Frames come when host_call_tick says so, not by the clock; only threads of sessions can write. */
	int virtual_clock;
	/* When the caller says nothing, the endpoint reports comfort noise, not frames of zeros. */
	int comfort_noise;
	int answered;
	/* Early media cannot be had. */
	int refuses_media;
	/* There is no codec before host_call_settle_codec. */
	int codec_unsettled;
};
enum { HOST_CALL_PARKED = 0, HOST_CALL_PLAYING = 1, HOST_CALL_ECHO = 2, HOST_CALL_BRIDGED = 3 };

typedef struct host_call host_call;
host_call *host_call_new(const struct host_call_options *options);
/* Hangs up, waits for the thread to end, frees. Hangs as FreeSWITCH would when somebody keeps the session locked. */
void host_call_free(host_call *call);
void host_call_hangup(host_call *call);
/* 1 when the session is gone; 0 after `timeout_ms`. */
int host_call_wait_ended(host_call *call, uint32_t timeout_ms);
void host_call_set_kind(host_call *call, int kind);
void host_call_bridge(host_call *a, host_call *b);
/* Lets the call's thread take `frames` more frames and waits until it has; 0 when it has not within `timeout_ms`. */
int host_call_tick(host_call *call, uint32_t frames, uint32_t timeout_ms);
/* The call is answered, or has early media (`early`): the flag first, then FreeSWITCH's event. */
void host_call_answer(host_call *call, int early);
/* The codec is negotiated. No event tells of it. */
void host_call_settle_codec(host_call *call);
/* A re-INVITE with another codec. */
void host_call_set_codec(host_call *call, uint32_t rate, uint32_t ptime_ms, uint32_t channels);
void host_call_set_flag(host_call *call, int flag, int value);
int host_call_test_flag(host_call *call, int flag);
/* `fsctl loglevel`, and the lines that have been thrown away since. */
void host_set_log_level(int level);
int host_unwanted_lines(void);
/* While it is held, reading a configuration file waits. */
void host_hold_config(int held);
/* The calling thread holds the lock of the channel's variables, or lets go of it, as one that copies them for an event. */
void host_call_lock_variables(host_call *call, int locked);
void host_call_set_variable(host_call *call, const char *name, const char *value);
char *host_call_get_variable(host_call *call, const char *name);
/* Appends to what the caller says, and to what a file plays to them: interleaved samples. */
void host_call_speak(host_call *call, const int16_t *samples, size_t count);
void host_call_play(host_call *call, const int16_t *samples, size_t count);
/* From here on the caller sends packets of so many ms, whatever has been agreed; where a reading finds none FreeSWITCH makes up a
 * frame. 0: as agreed. */
void host_call_set_packets(host_call *call, uint32_t packet_ms);
/* Samples the caller has not said yet. */
size_t host_call_unspoken(host_call *call);
/* What the caller was given since the start: copies up to `capacity` samples from `from`, returns how many there are from there on. */
size_t host_call_heard(host_call *call, size_t from, int16_t *samples, size_t capacity);
/* Frames the caller was given: times in ns of a monotonic clock, and sizes in samples. */
size_t host_call_heard_frames(host_call *call, int64_t *times, uint32_t *sizes, size_t capacity);
/* The caller presses keys, which their next packets carry: the session's thread has them before the audio. */
void host_call_press(host_call *call, const char *digits, uint32_t duration_ms);
/* The same, told past the media, as by SIP INFO: the hooks run on the calling thread. */
void host_call_press_by_signalling(host_call *call, const char *digits, uint32_t duration_ms);
/* The digits that have reached the dialplan. */
char *host_call_digits(host_call *call);
/* Frames read from the caller so far. */
uint64_t host_call_frames_read(host_call *call);
int64_t host_call_latest_ns(host_call *call);
/* Queues an application for the session's thread. */
void host_call_execute(host_call *call, const char *application, const char *data);
/* Applications finished so far. */
uint32_t host_call_executed(host_call *call);
uint32_t host_call_bugs(host_call *call);
/* What the call hears from now on is not kept. */
void host_call_keep_nothing(host_call *call);
/* A stereo recorder, as record_session is: left the caller, right what they hear. */
int host_call_record(host_call *call);
size_t host_call_recorded(host_call *call, int16_t *samples, size_t capacity);

#endif

/* Sessions and their channels: one leg of a call. */
#ifndef FREESWITCH_ABI_SESSION_H
#define FREESWITCH_ABI_SESSION_H

#include "codec.h"
#include "event.h"
#include "types.h"

/* NULL, or the session read-locked until switch_core_session_rwunlock: meanwhile it is not destroyed. */
switch_core_session_t *switch_core_session_perform_locate(const char *uuid_str, const char *file, const char *func,
														  int line);
switch_status_t switch_core_session_read_lock(switch_core_session_t *session);
void switch_core_session_rwunlock(switch_core_session_t *session);

switch_channel_t *switch_core_session_get_channel(switch_core_session_t *session);
switch_status_t switch_core_session_send_dtmf_string(switch_core_session_t *session, const char *dtmf_string);
/* NULL for dialplan and context: those the caller is in. */
switch_status_t switch_ivr_session_transfer(switch_core_session_t *session, const char *extension, const char *dialplan,
											const char *context);
/* Queues the application for the session's own thread, which runs it where it looks at its commands; the strings are copied. */
switch_status_t switch_core_session_execute_application_async(switch_core_session_t *session, const char *app,
															  const char *arg);
/* Runs the application to its end, on the session's own thread. Variables in the argument are expanded. */
switch_status_t switch_core_session_execute_application_get_flags(switch_core_session_t *session, const char *app,
																  const char *arg, int32_t *flags);
char *switch_core_session_get_uuid(switch_core_session_t *session);
switch_memory_pool_t *switch_core_session_get_pool(switch_core_session_t *session);
/* Zeroed memory that is freed with the session. */
void *switch_core_perform_session_alloc(switch_core_session_t *session, switch_size_t memory, const char *file,
										const char *func, int line);

/* Called for each digit from the caller before the dialplan sees it, with the channel's DTMF mutex held and on any
 * thread has the digit: the one that reads the session for RTP, any for SIP INFO and commands, a media bug's callback for
 * inband tones. Anything but SUCCESS hides the digit from the hooks behind and from the dialplan. */
typedef switch_status_t (*switch_recv_dtmf_hook_t)(switch_core_session_t *session, const switch_dtmf_t *dtmf,
												   switch_dtmf_direction_t direction);
/* Not SUCCESS, and nothing changed, when the session has this hook already. The list has no lock; what was in it stays until
 * the session is destroyed. */
switch_status_t switch_core_event_hook_add_recv_dtmf(switch_core_session_t *session, switch_recv_dtmf_hook_t recv_dtmf);

/* Called on the reading thread for each frame that the endpoint gave, before media bugs see it. Anything but SUCCESS hides the
 * frame from the hooks behind and from the bugs, and is what the reading answers. */
typedef switch_status_t (*switch_read_frame_hook_t)(switch_core_session_t *session, switch_frame_t **frame,
													switch_io_flag_t flags, int stream_id);
/* As the one above. */
switch_status_t switch_core_event_hook_add_read_frame(switch_core_session_t *session, switch_read_frame_hook_t read_frame);

/* Copies the implementation. Before there is a codec: not SUCCESS, and all zero except one channel. */
switch_status_t switch_core_session_get_read_impl(switch_core_session_t *session, switch_codec_implementation_t *impp);
switch_status_t switch_core_session_get_write_impl(switch_core_session_t *session,
												   switch_codec_implementation_t *impp);

/* The implementation of the call's own codec, where an application has put another one in front of it. */
switch_status_t switch_core_session_get_real_read_impl(switch_core_session_t *session,
													   switch_codec_implementation_t *impp);
/* NULL, or a codec that is open as long as the session's lock is held and no codec changes. */
switch_codec_t *switch_core_session_get_read_codec(switch_core_session_t *session);
switch_codec_t *switch_core_session_get_write_codec(switch_core_session_t *session);

/* Sets or reads something of FreeSWITCH as a whole, without a lock. Nothing comes back while it shuts down. */
int32_t switch_core_session_ctl(switch_session_ctl_t cmd, void *val);

/* Waits for the next frame from the caller. The frame is the session's own, until the next read. */
switch_status_t switch_core_session_read_frame(switch_core_session_t *session, switch_frame_t **frame,
											   switch_io_flag_t flags, int stream_id);
switch_status_t switch_core_session_write_frame(switch_core_session_t *session, switch_frame_t *frame,
												switch_io_flag_t flags, int stream_id);

/* Runs what has been queued for the session (broadcasts, transfers); for loops that hold the session's thread. */
switch_status_t switch_ivr_parse_all_events(switch_core_session_t *session);

/* With `dup` the value is copied into the session's pool, else it is the channel's own. An `idx` of -1 is the whole value. */
const char *switch_channel_get_variable_dup(switch_channel_t *channel, const char *varname, switch_bool_t dup, int idx);
/* With `var_check` a value that FreeSWITCH would expand later is refused. A NULL value removes the variable. */
switch_status_t switch_channel_set_variable_var_check(switch_channel_t *channel, const char *varname,
													  const char *value, switch_bool_t var_check);
/* A pointer kept under a name. The name is copied, what the pointer shows is the caller's business. */
switch_status_t switch_channel_set_private(switch_channel_t *channel, const char *key, const void *private_info);
void *switch_channel_get_private(switch_channel_t *channel, const char *key);
uint32_t switch_channel_test_cap(switch_channel_t *channel, switch_channel_cap_t cap);
uint32_t switch_channel_test_flag(switch_channel_t *channel, switch_channel_flag_t flag);
/* Whether the call is neither over nor being transferred, and, with `check_media`, has audio. */
int switch_channel_test_ready(switch_channel_t *channel, switch_bool_t check_ready, switch_bool_t check_media);
switch_channel_state_t switch_channel_get_state(switch_channel_t *channel);
/* Acts on signals queued for the session, with `in_thread_only` only when the calling thread is the session's. Returns 0. */
int switch_channel_check_signal(switch_channel_t *channel, switch_bool_t in_thread_only);
switch_channel_state_t switch_channel_perform_hangup(switch_channel_t *channel, const char *file, const char *func, int line,
													 switch_call_cause_t hangup_cause);
/* Success, too, when the call is answered already. Hangs it up when it cannot be answered. */
switch_status_t switch_channel_perform_answer(switch_channel_t *channel, const char *file, const char *func, int line);
switch_status_t switch_channel_perform_pre_answer(switch_channel_t *channel, const char *file, const char *func,
												  int line);
char *switch_channel_get_name(switch_channel_t *channel);
char *switch_channel_get_uuid(switch_channel_t *channel);
switch_core_session_t *switch_channel_get_session(switch_channel_t *channel);
/* Adds the channel's headers, and its variables where the channel asks for it. */
void switch_channel_event_set_data(switch_channel_t *channel, switch_event_t *event);

#endif

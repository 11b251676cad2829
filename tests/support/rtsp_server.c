/* A small RTSP camera for the tests: serves one red test picture stream at /line on loopback.
 * Arguments: the address and port to listen on (port 0: a free one) and a GStreamer launch line that ends in a
 * payloader named pay0. Prints the port, and ends when its standard input is closed, so that it never outlives the
 * test that started it. */
#include <gst/gst.h>
#include <gst/rtsp-server/rtsp-server.h>
#include <stdio.h>

static gboolean stdin_closed(GIOChannel *channel, GIOCondition condition, gpointer loop) {
  (void)channel;
  (void)condition;
  g_main_loop_quit(loop);
  return G_SOURCE_REMOVE;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: rtsp_server ADDRESS PORT LAUNCH-LINE\n");
    return 2;
  }
  gst_init(NULL, NULL);
  GstRTSPServer *server = gst_rtsp_server_new();
  gst_rtsp_server_set_address(server, argv[1]);
  gst_rtsp_server_set_service(server, argv[2]);

  GstRTSPMediaFactory *factory = gst_rtsp_media_factory_new();
  gst_rtsp_media_factory_set_launch(factory, argv[3]);
  gst_rtsp_media_factory_set_shared(factory, TRUE);
  GstRTSPMountPoints *mounts = gst_rtsp_server_get_mount_points(server);
  gst_rtsp_mount_points_add_factory(mounts, "/line", factory);
  g_object_unref(mounts);

  if (gst_rtsp_server_attach(server, NULL) == 0) {
    fprintf(stderr, "cannot listen on %s:%s\n", argv[1], argv[2]);
    return 1;
  }
  GMainLoop *loop = g_main_loop_new(NULL, FALSE);
  GIOChannel *input = g_io_channel_unix_new(0);
  g_io_add_watch(input, G_IO_HUP | G_IO_ERR, stdin_closed, loop);
  printf("%d\n", gst_rtsp_server_get_bound_port(server));
  fflush(stdout);
  g_main_loop_run(loop);
  return 0;
}

# Hands `node-gyp rebuild` over to cmake-js, whose output folder is not node-gyp's own build/. The output named here is never
# written, so the action runs every time and CMake decides what is out of date.
{
  'targets': [
    {
      'target_name': 'gradmill',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake',
          'inputs': [],
          'outputs': ['<(module_root_dir)/native/build/always'],
          'action': [
            'node',
            '<!(node -p "require.resolve(\'cmake-js/bin/cmake-js\')")',
            'compile',
            '--directory', '<(module_root_dir)',
            '--out', '<(module_root_dir)/native/build',
            '--parallel', '<!(node -p "os.availableParallelism()")',
          ],
        },
      ],
    },
  ],
}
